"""``disinto release``: deploy a branch on this machine, and return to the safe commit on failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dispatcher.cli import console
from dispatcher.cli.options import json_option

if TYPE_CHECKING:
    from dispatcher.release.application import Application

F = TypeVar("F", bound=Callable[..., Any])


@click.group("release")
def command() -> None:
    """Releases of this machine: deploy a branch, return to the safe commit on failure.

    An application is a directory, /opt/NAME by default, with a release.toml: see docs/releases.md.
    """


def application_options(function: F) -> F:
    """``--app`` and ``--root``, for ``application``."""
    function = click.option(
        "--root",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Directory of the application; default: /opt/NAME.",
    )(function)
    return click.option(
        "--app", metavar="NAME", help="Application; default: the only one below /opt."
    )(function)


def application(app: str | None, root: Path | None) -> Application:
    """The application that the options name.

    Raises:
        InvalidSettings, Misconfigured: see ``application.read`` and ``root_of``.
    """
    from dispatcher.release.application import read, root_of

    return read(root_of(app, root))


@command.command("status")
@application_options
@json_option
def status(app: str | None, root: Path | None, *, as_json: bool) -> None:
    """Show which commit is deployed, and the state of the services."""
    from dispatcher.release.status import lines, status
    from dispatcher.release.units import Systemd

    record = status(application(app, root), Systemd())
    if as_json:
        console.emit(record)
        return
    for line in lines(record):
        console.say(line)


def _add_machine_commands() -> None:
    from dispatcher.cli.release_machine import doctor, install, uninstall, webhook

    for each in (install, uninstall, doctor, webhook):
        command.add_command(each)


_add_machine_commands()
