"""``disinto release install``, ``uninstall``, ``doctor`` and ``webhook``: the machine's side of releases."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import json_option
from dispatcher.cli.release import application, application_options
from dispatcher.errors import Exit, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.release.application import Application
    from dispatcher.release.install import Task
    from dispatcher.release.installation import Installation

YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
CHECK = click.option("--check", is_flag=True, help="Change nothing; exit with 1 if anything differs.")  # fmt: skip


@click.command("install")
@CHECK
@YES
@application_options
def install(app: str | None, root: Path | None, *, check: bool, yes: bool) -> int:
    """Create user, directories, units and rights of an application; needs root.

    Shows the difference and asks before writing. Installing again changes nothing, and applies
    changes to release.toml. The services' own units are yours: they are neither written nor changed.
    """
    from dispatcher.release.install import Installer
    from dispatcher.release.system import System, distrust
    from dispatcher.release.webhook import secret_of

    _refuse_others("install")
    chosen = application(app, root)
    if chosen.settings.webhook is not None:
        secret_of(chosen)
    for path in (chosen.layout.release_file, _program()):
        if reason := distrust(path):
            raise Misconfigured(
                reason, remedy="Give it to root alone: it decides what root does on this machine."
            )
    installer = Installer(_installation(chosen), System())
    tasks = installer.tasks()
    differing = _show(tasks)
    if check or not differing:
        return Exit.FAILED if differing else Exit.OK
    if not yes and not console.confirmed("Write this?"):
        console.note("nothing was changed")
        return Exit.FAILED
    installer.apply(tasks)
    console.note(f"installed; 'systemctl start {chosen.layout.deploy_service}' deploys now")
    return Exit.OK


@click.command("uninstall")
@click.argument("app")
@click.option("--check", is_flag=True, help="Only show what would be removed; exit with 1.")
@YES
def uninstall(app: str, *, check: bool, yes: bool) -> int:
    """Remove what 'disinto release install' made for APP; needs root.

    Directories that are not empty stay, and so do files that were changed since; exits with 1 if any
    does. The services keep running.
    """
    from dispatcher.errors import NotFound
    from dispatcher.release import manifest
    from dispatcher.release.install import Uninstaller
    from dispatcher.release.settings import is_name
    from dispatcher.release.system import System

    _refuse_others("uninstall")
    machine = System()
    made = manifest.read(machine, app) if is_name(app) else None
    if made is None:
        raise NotFound(f"{app!r} is not installed here", remedy="See 'disinto release status'.")
    uninstaller = Uninstaller(made, machine)
    tasks = uninstaller.tasks()
    _show(tasks)
    for each in uninstaller.kept:
        console.note(f"kept: {each}")
    if check:
        return Exit.FAILED
    if not yes and not console.confirmed("Delete this?"):
        console.note("nothing was changed")
        return Exit.FAILED
    uninstaller.apply(tasks)
    return Exit.FAILED if uninstaller.kept else Exit.OK


@click.command("doctor")
@application_options
@json_option
def doctor(app: str | None, root: Path | None, *, as_json: bool) -> int:
    """Check that this machine can deploy, and that nobody else can; needs root.

    Changes nothing. Exits with 1 if anything is wrong.
    """
    from dispatcher.cli.checks import report_checks
    from dispatcher.release.doctor import diagnose
    from dispatcher.release.system import System

    _refuse_others("doctor")
    chosen = application(app, root)
    return report_checks(diagnose(chosen, _installation(chosen), System()), as_json=as_json)


@click.command("webhook")
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="File with the secret; default: the service's env file; - for standard input.",
)
@application_options
def webhook(app: str | None, root: Path | None, *, env_file: Path | None) -> None:
    """Serve the webhook of an application: a signed push requests a deploy.

    It has no rights beyond making one file, which a unit of systemd watches. 'disinto release install'
    writes a unit for it if release.toml has a table [webhook].
    """
    from dispatcher.release.webhook import request, secret_of

    chosen = application(app, root)
    settings = chosen.settings
    if settings.webhook is None:
        raise Misconfigured(
            f"{chosen.layout.release_file} has no table [webhook]",
            remedy="Add it; then 'disinto release install' writes a unit for it.",
        )
    secret = secret_of(chosen, env_file)
    _serve(settings.webhook.listen, settings.branch, secret, lambda: request(settings.app))


def _serve(listen: str, branch: str, secret: bytes, request: Callable[[], None]) -> None:
    import signal
    import threading

    from dispatcher.listener.hooks import PushHook
    from dispatcher.listener.release_hook import ReleaseHook
    from dispatcher.listener.serving import Listener

    stopped = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stopped.set())
    hook = PushHook(secret=secret, repository="", branch=branch, accepted="requested a deploy")
    app = ReleaseHook(hook, request, report=console.note)
    with Listener(app, listen=listen, option="[webhook] listen"):
        console.note(f"webhook: listening on {listen}")
        stopped.wait()


def _installation(chosen: Application) -> Installation:
    from dispatcher.release.installation import installation
    from dispatcher.release.system import System

    home = System().home(chosen.settings.user)
    return installation(chosen, disinto=_program(), home=home)


def _program() -> Path:
    """This program, as units start it: beside the interpreter, not where a link to it is."""
    return Path(sys.executable).parent / "disinto"


def _refuse_others(command: str) -> None:
    if os.geteuid() != 0:
        raise Misconfigured(f"'disinto release {command}' needs root", remedy="Run it with sudo.")


def _show(tasks: list[Task]) -> int:
    from dispatcher.cli.changes import show_changes

    return show_changes([task.change for task in tasks if task.change.name])
