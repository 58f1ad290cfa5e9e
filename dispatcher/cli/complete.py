"""Completion of ids and names: fast, and silent if there is nothing to offer.

Reads the status file and the clone as they are. Neither the settings' model nor any adapter is
loaded, because a shell calls this at every press of TAB.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

from dispatcher.cli.session import Session
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH, CANCEL_ENDING, RESULT_ENDING
from dispatcher.settings_file import state_dir

STATUS_FILE = "status.json"
"""``dispatcher.status.status_file.NAME``; its module takes long to load."""

TIMEOUT_S = 2.0


def open_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of open actions that begin so."""
    return _matching(_open(_state_dir(ctx)), incomplete)


def known_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of open actions, and of finished ones that are not archived."""
    directory = _state_dir(ctx)
    return _matching((*_open(directory), *_in_clone(directory, "")), incomplete)


def finished_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of actions with a result that are not archived."""
    return _matching(_in_clone(_state_dir(ctx), RESULT_ENDING), incomplete)


def secret_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of stored secrets; asks Vault, with the operator's token."""
    from dispatcher.errors import DisintoError
    from dispatcher.vault import Grants, Vault

    try:
        settings = _session(ctx).settings
        quick = settings.vault.model_copy(update={"timeout_s": TIMEOUT_S})
        vault = Vault.of_operator(quick, environ=os.environ)
        return _matching(Grants(vault, settings).secret_names(), incomplete)
    except DisintoError:
        return []


def _session(ctx: click.Context) -> Session:
    session = ctx.find_object(Session) or Session()
    config = ctx.find_root().params.get("config")
    if session.config is None and isinstance(config, Path):
        session.config = config
    return session


def _state_dir(ctx: click.Context) -> Path | None:
    return state_dir(_session(ctx).config, os.environ)


def _open(directory: Path | None) -> Iterator[str]:
    """From the status file of a ``serve`` here."""
    if directory is None:
        return
    try:
        status = json.loads((directory / STATUS_FILE).read_bytes())
        yield from [str(action["id"]) for action in status["overview"]["open"]]
    except (OSError, ValueError, TypeError, KeyError):
        return


def _in_clone(directory: Path | None, ending: str) -> Iterator[str]:
    """Ids of files in the clone's ``vault/actions``, as last fetched: all, or those with a result."""
    if directory is None:
        return
    try:
        # The exception to "only ops_repo calls git": loading the adapter takes longer than this.
        listed = subprocess.run(
            ["git", f"--git-dir={directory / 'ops.git'}", "ls-tree", "-z", "--name-only",
             "refs/disinto/head", "--", f"{ACTIONS_PATH}/"],
            capture_output=True, check=True, timeout=TIMEOUT_S,
        ).stdout.decode("utf-8", "replace")  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return
    for path in listed.split("\0"):
        name = path.rpartition("/")[2]
        if name.endswith(ending or ACTION_ENDING) and not name.endswith(CANCEL_ENDING):
            yield name.removesuffix(ending or ".toml")


def _matching(names: Iterator[str] | tuple[str, ...] | frozenset[str], begin: str) -> list[str]:
    return sorted({name for name in names if name.startswith(begin)})
