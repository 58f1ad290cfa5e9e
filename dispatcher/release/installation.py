"""What an installation of an application consists of: user, directories, units and rights. Pure.

The texts are in ``templates/``. Every value that reaches them was checked as release.toml was read, or is
checked here, because a unit and a sudoers file are read by root.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from dispatcher.errors import Misconfigured
from dispatcher.release.application import Application
from dispatcher.release.units import VERBS, privileged

UNITS = Path("/etc/systemd/system")
SUDOERS = Path("/etc/sudoers.d")
HOMES = Path("/var/lib")
RUNTIME = Path("/run")
BACKEND = "backend"
"""The service whose env file has the webhook's secret, if there is one of this name."""

_TEMPLATES = Path(__file__).parent / "templates"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./+-]*", re.ASCII)
_LOOPBACK = ("127.0.0.1:", "[::1]:", "localhost:")


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A system user, with a group of the same name if it has to be created."""

    name: str
    home: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Directory:
    """A directory that the deploy user owns."""

    path: Path
    mode: int


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of root.

    Attributes:
        kind: such as ``unit``, for people.
        mode: permission bits.
    """

    kind: str
    path: Path
    text: str
    mode: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """Everything that belongs on the machine.

    Attributes:
        app: name of the application.
        account: the deploy user.
        directories: in the order in which they are created.
        env_files: files that the operator wrote, and that the deploy user has to own.
        files: units, and the sudoers file.
        started: units that are enabled and run.
        commands: what the deploy user may run as root.
        program: what the units start.
    """

    app: str
    account: Account
    directories: tuple[Directory, ...]
    env_files: tuple[Path, ...]
    files: tuple[File, ...]
    started: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    program: Path


def installation(
    application: Application, *, disinto: Path, home: Path | None = None
) -> Installation:
    """What belongs on the machine for an application.

    Args:
        disinto: the program, as units start it.
        home: of the deploy user, if there is this user already.

    Raises:
        Misconfigured: a path has characters that cannot be written into a unit.
    """
    layout, settings = application.layout, application.settings
    for path in (
        disinto,
        layout.root,
        layout.source,
        *layout.env_files.values(),
        *map(Path, settings.writable),
    ):
        _refuse_odd(path)
    webhook = settings.webhook is not None
    units = [layout.deploy_service, layout.deploy_timer]
    units += [layout.deploy_path, layout.webhook_service] if webhook else []
    account = Account(name=settings.user, home=home or HOMES / settings.user)
    _refuse_odd(account.home)
    values = _values(application, disinto, account)
    return Installation(
        app=settings.app,
        account=account,
        directories=_directories(application, account),
        env_files=tuple(
            dict.fromkeys(path for path in layout.env_files.values() if path.parent == layout.env)
        ),
        files=(
            *(
                File(kind="unit", path=UNITS / unit, text=_unit(unit, values), mode=0o644)
                for unit in units
            ),
            File(
                kind="sudoers file",
                path=sudoers_file(settings.app),
                text=_render("sudoers.j2", values),
                mode=0o440,
            ),
        ),
        started=tuple(units[1:]),
        commands=commands(settings.units.values()),
        program=disinto,
    )


def commands(units: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The commands that the deploy user may run as root."""
    return tuple(privileged(verb, unit) for unit in units for verb in VERBS)


def sudoers_file(app: str) -> Path:
    """sudo skips files whose name has a dot."""
    return SUDOERS / f"disinto-{app}"


def request_file(app: str) -> Path:
    """The file that the webhook makes and the path unit watches."""
    return RUNTIME / f"{app}-deployhook" / "requested"


def secret_name(app: str) -> str:
    """The variable with the webhook's secret: ``SHOP_WEBHOOK_SECRET``."""
    return f"{app.upper().replace('-', '_')}_WEBHOOK_SECRET"


def secret_file(application: Application) -> Path:
    """The env file that has the webhook's secret: of the service ``backend``, or else of the first."""
    files = application.layout.env_files
    return files[BACKEND] if BACKEND in files else next(iter(files.values()))


def _directories(application: Application, account: Account) -> tuple[Directory, ...]:
    layout = application.layout
    own = HOMES / application.settings.user
    home = (Directory(path=own, mode=0o700),) if account.home == own else ()
    inside = (
        Directory(path=layout.source, mode=0o755),
        Directory(path=layout.env, mode=0o750),
        Directory(path=layout.run, mode=0o755),
        Directory(path=layout.logs, mode=0o750),
        Directory(path=layout.venvs, mode=0o755),
    )
    return (*home, *(each for each in inside if each.path.is_relative_to(layout.root)))


def _values(application: Application, disinto: Path, account: Account) -> dict[str, object]:
    layout, settings = application.layout, application.settings
    directories = [each.path for each in _directories(application, account)]
    writable = [*directories, layout.source, *map(Path, settings.writable)]
    listen = settings.webhook.listen if settings.webhook else ""
    return {
        "app": settings.app,
        "user": settings.user,
        "root": layout.root,
        "disinto": disinto,
        "path": f"{disinto.parent}:{_SYSTEM_PATH}",
        "poll_s": int(settings.poll_interval),
        "webhook": bool(settings.webhook),
        "request": request_file(settings.app),
        "env_file": secret_file(application),
        "home": account.home,
        "in_home": account.home.parts[1:2] in {("home",), ("root",)},
        "writable": tuple(each for each in dict.fromkeys(writable) if each != account.home),
        "hidden": tuple(dict.fromkeys((account.home, *directories))),
        "loopback": listen.startswith(_LOOPBACK),
        "alias": f"DISINTO_{settings.app.upper().replace('-', '_')}",
        "commands": [" ".join(each) for each in commands(settings.units.values())],
    }


def _unit(name: str, values: dict[str, object]) -> str:
    """A unit by its template, which is called as the unit without the application."""
    return _render(name.removeprefix(f"{values['app']}-") + ".j2", values)


def _refuse_odd(path: Path) -> None:
    if not _PLAIN_PATH.fullmatch(str(path)) or ".." in path.parts:
        raise Misconfigured(
            f"the path {str(path)!r} cannot be written into a unit",
            remedy="Use an absolute path of letters, digits and _ . + -",
        )


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - units, not HTML; values are checked before
        keep_trailing_newline=True,
        trim_blocks=True,
    )


def _render(name: str, values: dict[str, object]) -> str:
    return _environment().get_template(name).render(values)
