"""Opens the settings of a command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.engines import registry
from dispatcher.errors import Misconfigured
from dispatcher.settings import GateKind, Role, Settings, load_settings, settings_origin

if TYPE_CHECKING:
    from dispatcher.settings_origin import Origin
    from dispatcher.status.status_file import Given

Environ = Mapping[str, str]
"""Environment variables, by name."""


def open_settings(config: Path | None, environ: Environ = os.environ) -> Settings:
    """The settings of this command, with the bots of the projects in ``sidecars.toml``.

    Raises:
        InvalidSettings: with every problem and its place.
        InvalidInput, Misconfigured: ``sidecars.toml``, see ``load_sidecars``.
    """
    settings = load_settings(config, environ)
    if settings.sidecars.file is None or settings.role is Role.AUTHOR:
        return settings
    from dispatcher.decide.project_bots import with_project_bots
    from dispatcher.decide.sidecar_rules import load_sidecars

    return with_project_bots(settings, load_sidecars(settings.sidecars.file))


def open_origin(config: Path | None, environ: Environ = os.environ) -> Origin | None:
    """See ``settings_origin``."""
    return settings_origin(config, environ)


def given(settings: Settings, origin: Origin | None) -> Given | None:
    """What the status file contains of the settings; None if their origin is unknown."""
    from dispatcher.loop.rule_files import watched
    from dispatcher.status.status_file import Given

    if origin is None:
        return None
    engine = registry.get(settings.scheduler)
    kept_logs = engine.kept_logs(settings)
    return Given(
        origin=origin,
        role=settings.role.value,
        proposals=settings.policy.gate is GateKind.FORGEJO,
        rules=watched(settings),
        kept_logs=kept_logs,
        kept=engine.kept_output(settings) if kept_logs else "",
    )


def refuse_author(settings: Settings, what: str) -> None:
    """Refuse what only makes sense on the dispatcher's host.

    Args:
        what: the subject of the sentence, such as ``'disinto serve'``.

    Raises:
        Misconfigured: this is an author client.
    """
    if settings.role is Role.AUTHOR:
        raise Misconfigured(
            f'{what} is not available on an author client (role = "author" in disinto.toml)',
            remedy="Run it on the dispatcher's host, with the settings of 'disinto serve'",
        )
