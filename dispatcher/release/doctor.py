"""``disinto release doctor``: whether this machine can deploy an application, and who else could."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dispatcher.errors import DisintoError
from dispatcher.model.checks import Check, failed, looked
from dispatcher.release import webhook
from dispatcher.release.application import Application, read
from dispatcher.release.captured import captured
from dispatcher.release.install import Installer
from dispatcher.release.installation import Installation
from dispatcher.release.layout import PARENT
from dispatcher.release.settings import FILE
from dispatcher.release.system import System, SystemFailed, distrust
from dispatcher.release.units import SYSTEMCTL

_REMOTE_S = 30.0
_INSTALL = "'disinto release install' repairs it."


def diagnose(application: Application, wanted: Installation, system: System) -> Iterator[Check]:
    """Every check, in an order in which the first failure explains the later ones. Needs root.

    Args:
        application: as its files describe it.
        wanted: what belongs on the machine for it.
        system: this machine.
    """
    yield from _ownership(application, wanted)
    yield from _programs(application)
    yield from looked("installation", lambda: _installation(wanted, system))
    for service, unit in application.settings.units.items():
        yield from looked(f"unit of {service}", partial(_unit, unit, wanted, system))
    if system.ids(wanted.account.name) is None:
        return
    yield from looked("rights", lambda: _rights(wanted, system))
    yield from looked("files", lambda: _files(application, wanted, system))
    yield from looked("remote", lambda: _remote(application, wanted))
    if application.settings.webhook is not None:
        yield from looked("webhook", lambda: _webhook(application))


def _ownership(application: Application, wanted: Installation) -> Iterator[Check]:
    """What root reads or runs must be root's."""
    release = application.layout.release_file
    program = Path(wanted.program)
    for name, path in (("release.toml", release), ("program", program), ("code", _package())):
        if name != "release.toml" and not path.exists():
            yield Check(name=name, ok=False, detail=f"{path} is missing", remedy=_INSTALL)
            continue
        reason = distrust(path)
        remedy = "" if reason is None else "Give it to root: who changes it has root's rights."
        yield Check(name=name, ok=reason is None, detail=reason or str(path), remedy=remedy)


def _package() -> Path:
    return Path(__file__).resolve().parents[1]


def _programs(application: Application) -> Iterator[Check]:
    services = application.settings.services.values()
    needed = ["git", "sudo", "visudo", "systemctl"]
    own = str(Path(sys.executable).parent)
    for name in needed:
        place = shutil.which(name)
        remedy = "" if place else f"Install the package that has {name}."
        yield Check(
            name=f"program {name}", ok=bool(place), detail=place or "not found", remedy=remedy
        )
    if any(service.install.split()[0] == "uv" for service in services):
        place = shutil.which("uv", path=f"{own}:/usr/local/bin:/usr/bin:/bin")
        remedy = "" if place else f"Install it beside disinto: {own}/pip install uv"
        yield Check(name="program uv", ok=bool(place), detail=place or "not found", remedy=remedy)


def _installation(wanted: Installation, system: System) -> Iterator[Check]:
    changes = [task.change for task in Installer(wanted, system).tasks() if task.change.name]
    if not changes:
        yield Check(name="installation", ok=True, detail="as release.toml describes it")
    for change in changes:
        yield Check(
            name=f"installation: {change.kind}",
            ok=False,
            detail=f"{change.name}: to {change.step}",
            remedy=_INSTALL,
        )


def _unit(unit: str, wanted: Installation, system: System) -> Iterator[Check]:
    name = f"unit {unit}"
    if system.property(unit, "LoadState") != "loaded":
        remedy = f"Write it: /etc/systemd/system/{unit}, then systemctl daemon-reload."
        yield Check(name=name, ok=False, detail="there is no such unit", remedy=remedy)
        return
    files = system.property(unit, "FragmentPath").split()
    files += system.property(unit, "DropInPaths").split()
    for file in files:
        if reason := distrust(Path(file)):
            remedy = "Give it to root: who changes it can have anything run as root."
            yield Check(name=name, ok=False, detail=reason, remedy=remedy)
    user = system.property(unit, "User")
    if user in ("", "root") and system.property(unit, "DynamicUser") != "yes":
        detail = "runs as root, and what it runs comes from the repository"
        remedy = "Set User= in the unit: who can push to the branch has root's rights now."
    elif user == wanted.account.name:
        detail = f"runs as {user}, which may change its code and read every env file"
        remedy = "Set User= in the unit to a user of its own."
    else:
        detail, remedy = f"runs as {user or 'a dynamic user'}", ""
    yield Check(name=name, ok=True, detail=detail, remedy=remedy)


def _rights(wanted: Installation, system: System) -> Iterator[Check]:
    user = wanted.account.name
    missing = [words for words in wanted.commands if not system.may(user, words)]
    for words in missing:
        detail = f"{user} may not run {' '.join(words)}"
        yield Check(name="rights", ok=False, detail=detail, remedy=_INSTALL)
    more = [
        words
        for words in (("/bin/sh",), (SYSTEMCTL, "daemon-reload"), (SYSTEMCTL, "restart", "ssh"))
        if system.may(user, words)
    ]
    for words in more:
        yield Check(
            name="rights",
            ok=False,
            detail=f"{user} may run {' '.join(words)} as root",
            remedy=f"Remove what else grants it rights: 'sudo -l -U {user}' lists all.",
        )
    if not missing and not more:
        detail = f"{user} may restart and stop the services, by {len(wanted.commands)} commands"
        yield Check(name="rights", ok=True, detail=detail)


def _files(application: Application, wanted: Installation, system: System) -> Iterator[Check]:
    """What a deploy writes must belong to the deploy user; a command by root leaves files behind."""
    ids = system.ids(wanted.account.name)
    layout = application.layout
    strangers = []
    for directory in (layout.source, layout.run, layout.logs, layout.venvs, layout.built_venvs):
        if directory.is_dir():
            strangers += [
                each
                for each in sorted(directory.iterdir())
                if ids is not None and each.lstat().st_uid != ids[0]
            ]
    for each in strangers[:5]:
        remedy = f"chown -hR {wanted.account.name}: {each}"
        detail = f"{each} does not belong to {wanted.account.name}"
        yield Check(name="files", ok=False, detail=detail, remedy=remedy)
    for service, file in layout.env_files.items():
        if not file.is_file():
            remedy = f"Write it, readable by {wanted.account.name}: its unit cannot start without."
            yield Check(
                name=f"env file of {service}", ok=False, detail=f"{file} is missing", remedy=remedy
            )
        elif file.stat().st_mode & 0o007:
            remedy = f"chmod o= {file}"
            detail = f"{file} can be read by everybody"
            yield Check(name=f"env file of {service}", ok=False, detail=detail, remedy=remedy)
    for path in application.settings.writable:
        if not Path(path).is_dir():
            remedy = "Create it, or remove it from writable: the deploy does not start without it."
            yield Check(name="writable", ok=False, detail=f"{path} is missing", remedy=remedy)


def _remote(application: Application, wanted: Installation) -> Iterator[Check]:
    settings = application.settings
    command = ["runuser", "-u", settings.user, "--", "git", "ls-remote", "--exit-code", "--heads"]
    command += ["--", settings.remote, f"refs/heads/{settings.branch}"]
    environ = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(wanted.account.home),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    }
    done = captured(
        command,
        timeout_s=_REMOTE_S,
        failure=SystemFailed,
        name=f"git ls-remote by {settings.user}",
        cwd=Path("/"),
        environ=environ,
    )
    if done.returncode == 0:
        yield Check(name="remote", ok=True, detail=f"{settings.user} can read {settings.branch}")
        return
    said = done.stderr.strip().splitlines()
    reason = said[-1][:200] if said else f"there is no branch {settings.branch}"
    remedy = f"Give {settings.user} a deploy key, or the remote another address."
    yield Check(name="remote", ok=False, detail=f"{settings.remote}: {reason}", remedy=remedy)


def _webhook(application: Application) -> Iterator[Check]:
    try:
        webhook.secret_of(application)
    except DisintoError as error:
        yield failed("webhook secret", error)
    else:
        yield Check(name="webhook secret", ok=True, detail="set")
    own = application.settings.webhook
    for file in sorted(PARENT.glob(f"*/{FILE}")):
        if file.parent == application.layout.root or own is None:
            continue
        try:
            other = read(file.parent).settings
        except DisintoError:
            continue  # its own doctor reports it
        if other.webhook is not None and _port(other.webhook.listen) == _port(own.listen):
            yield Check(
                name="webhook",
                ok=False,
                detail=f"{other.app} listens on {other.webhook.listen} as well",
                remedy="Set [webhook] listen in release.toml to another port.",
            )


def _port(listen: str) -> str:
    return listen.rpartition(":")[2]
