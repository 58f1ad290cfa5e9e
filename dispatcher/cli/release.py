"""``disinto release``: deploy a branch on this machine, and return to the safe commit on failure."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dispatcher.cli import console
from dispatcher.cli.options import json_option
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from dispatcher.release.application import Application
    from dispatcher.release.records import Last

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


_HASH = re.compile(r"[0-9a-f]{7,64}", re.ASCII)
_REQUESTED = re.compile(
    r"disinto release deploy [ -~]*--commit ([0-9a-f]{40,64})( [ -~]*)?", re.ASCII
)


def _hash(_context: click.Context, _option: click.Parameter, value: str | None) -> str:
    """The beginning of a commit's hash, checked; "" for none."""
    if value is not None and not _HASH.fullmatch(value):
        raise click.BadParameter("not the beginning of a hash, 7 to 64 hexadecimal digits")
    return value or ""


def _requested_by_ssh(environ: Mapping[str, str]) -> str:
    """The commit of the command that a client of SSH requested, "" for none. Nothing else of it counts.

    Raises:
        click.UsageError: it requests a commit in another way; the head would be deployed in its place.
    """
    command = environ.get("SSH_ORIGINAL_COMMAND", "")
    requested = _REQUESTED.fullmatch(command)
    if requested is None and "--commit" in command:
        raise click.UsageError("SSH_ORIGINAL_COMMAND: --commit needs a space and a whole hash")
    return requested[1] if requested else ""


@command.command("deploy")
@application_options
@click.option("--plan", "planned", is_flag=True, help="Show what would happen; change nothing.")
@click.option("--force", is_flag=True, help="Also if the head is the safe commit.")
@click.option(
    "--commit", metavar="HASH", callback=_hash, help="This commit of the branch, not its head."
)
@click.option(
    "--by-ssh", is_flag=True, help="In authorized_keys: --commit as the client requests it."
)
@click.option("--timer", is_flag=True, help="By the timer: do not retry a commit that failed.")
@json_option
def deploy(
    app: str | None,
    root: Path | None,
    *,
    planned: bool,
    force: bool,
    commit: str,
    by_ssh: bool,
    timer: bool,
    as_json: bool,
) -> int:
    """Deploy the branch's head, and return to the safe commit on failure.

    A deploy that was interrupted is repaired first. Exits with 0 if the head is deployed, also if it
    was already; with 1 if the services are back on the safe commit, or stopped without one; with 70 if
    the way back failed, too. Nothing was changed if it exits with 66 (--commit: the branch has no such
    commit), 69 (the remote cannot be reached), 74
    (the disk is full, or a file cannot be read), 75 (another deploy runs, which then deploys once more)
    or 78 (release.toml or deploy.env is wrong, or a file belongs to another user).

    With --commit, a later commit of the branch stays if it is deployed already.
    """
    from dispatcher.release.deploy import PERSON, TIMER, Deployer
    from dispatcher.release.units import Systemd

    commit = commit or (_requested_by_ssh(os.environ) if by_ssh else "")
    if commit and (planned or timer):
        raise click.UsageError("--commit goes with neither --plan nor --timer")
    which = application(app, root)
    if planned:
        return _plan(which, force=force, as_json=as_json)
    deployer = Deployer(which, Systemd(), trigger=TIMER if timer else PERSON, echo=console.note)
    return _ended(deployer.deploy(force=force, commit=commit), as_json=as_json)


@command.command("rollback")
@application_options
@click.option("--to", metavar="COMMIT", help="Safe commit; default: the one before the present.")
@json_option
def rollback(app: str | None, root: Path | None, *, to: str | None, as_json: bool) -> int:
    """Return to an earlier safe commit, without network.

    Its environment was kept. Migrations are neither applied nor undone. The timer does not deploy the
    present commit again until the branch moves. If the last deploy was interrupted, only that is
    repaired. Exit codes are those of deploy, and 66 if there is no such commit.
    """
    from dispatcher.release.deploy import Deployer
    from dispatcher.release.units import Systemd

    deployer = Deployer(application(app, root), Systemd(), echo=console.note)
    return _ended(deployer.rollback(to), as_json=as_json)


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


def _plan(which: Application, *, force: bool, as_json: bool) -> int:
    from dispatcher.release.plan import lines, plan
    from dispatcher.release.units import Systemd

    record = plan(which, Systemd(), force=force)
    if as_json:
        console.emit(record)
    else:
        for line in lines(record):
            console.say(line)
    return Exit.OK


def _ended(last: Last, *, as_json: bool) -> int:
    from dispatcher.release.outcome import Outcome
    from dispatcher.release.status import shown

    if as_json:
        console.emit(shown(last))
    else:
        console.say(f"{last.outcome}: {last.message}")
    return Outcome(last.outcome).exit_code


def _add_machine_commands() -> None:
    from dispatcher.cli.release_machine import doctor, install, uninstall, webhook

    for each in (install, uninstall, doctor, webhook):
        command.add_command(each)


_add_machine_commands()
