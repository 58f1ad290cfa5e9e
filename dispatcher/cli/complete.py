"""Completion of ids and names by click: fast, and silent if there is nothing to offer.

``ids`` lists them, and answers the question that is asked most by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from dispatcher.cli import ids
from dispatcher.cli.session import Session
from dispatcher.settings_file import state_directory


def open_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of open actions that begin so."""
    return ids.matching(ids.open_ids(_state_dir(ctx)), incomplete)


def known_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of open actions, and of finished ones that are not archived."""
    return ids.matching(ids.known_ids(_state_dir(ctx)), incomplete)


def finished_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of actions with a result that are not archived."""
    return ids.matching(ids.finished_ids(_state_dir(ctx)), incomplete)


def desktop_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of desktops in the inventory."""
    return ids.matching(ids.desktop_ids(_state_dir(ctx)), incomplete)


def stack_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of stacks in the inventory."""
    return ids.matching(ids.stack_ids(_state_dir(ctx)), incomplete)


def secret_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of stored secrets; asks Vault, with the operator's token."""
    from dispatcher.errors import DisintoError
    from dispatcher.vault import Grants, Vault

    try:
        settings = _session(ctx).settings
        quick = settings.vault.model_copy(update={"timeout_s": ids.TIMEOUT_S})
        vault = Vault.of_operator(quick, environ=os.environ)
        return ids.matching(Grants(vault, settings).secret_names(), incomplete)
    except DisintoError:
        return []


def _session(ctx: click.Context) -> Session:
    session = ctx.find_object(Session) or Session()
    config = ctx.find_root().params.get("config")
    if session.config is None and isinstance(config, Path):
        session.config = config
    return session


def _state_dir(ctx: click.Context) -> str | None:
    config = _session(ctx).config
    return state_directory(str(config) if config else None, os.environ)
