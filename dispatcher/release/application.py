"""One application of this machine, as its files describe it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import InvalidSettings, Misconfigured, Problem, reason_of
from dispatcher.release import deploy_env
from dispatcher.release.deploy_env import DeployEnv
from dispatcher.release.layout import PARENT, Layout
from dispatcher.release.settings import FILE, READER, ReleaseSettings
from dispatcher.toml.source import TomlSource

_LIMIT = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Application:
    """What is deployed, and where.

    Attributes:
        settings: release.toml.
        layout: paths and unit names.
        run_smoke: whether there is a smoke test to run.
    """

    settings: ReleaseSettings
    layout: Layout
    run_smoke: bool


def read(root: Path) -> Application:
    """Read the application in a directory.

    Raises:
        InvalidSettings: release.toml or deploy.env has problems; names each with its place.
        Misconfigured: release.toml is missing or cannot be read.
    """
    root = Path(os.path.normpath(root.absolute()))
    settings = _settings(root / FILE)
    env = _deploy_env(root, settings)
    layout = Layout(
        root=root,
        app=settings.app,
        source=Path(os.path.normpath(env.repo_root or root / "src")),
        env_files={
            name: env.env_files.get(name, root / "env" / f"{name}.env")
            for name in settings.services
        },
    )
    _refuse_mixed(layout)
    smoke = settings.smoke
    wanted = smoke is not None and (smoke.run if env.run_smoke is None else env.run_smoke)
    return Application(settings=settings, layout=layout, run_smoke=wanted)


def root_of(app: str | None, root: Path | None, *, parent: Path = PARENT) -> Path:
    """The root that ``--app`` or ``--root`` names; without both the only one below ``parent``.

    Raises:
        Misconfigured: it is not clear which application is meant.
    """
    if root is not None:
        return root
    if app is not None:
        return parent / app
    here = sorted(path.parent for path in parent.glob(f"*/{FILE}"))
    if len(here) == 1:
        return here[0]
    if not here:
        what = f"no {FILE} in any directory of {parent}"
        raise Misconfigured(what, remedy="Pass --root, the directory of the application.")
    names = ", ".join(path.name for path in here)
    raise Misconfigured(f"several applications in {parent}: {names}", remedy="Pass --app NAME.")


def _refuse_mixed(layout: Layout) -> None:
    """Whatever git does not know in the checkout is removed, so nothing else may be in it, nor it in them."""
    for other in layout.directories:
        if other.is_relative_to(layout.source) or layout.source.is_relative_to(other):
            problem = Problem(
                message=f"the checkout {layout.source} and {other} are in each other",
                path=str(layout.deploy_env),
                remedy=f"Set {deploy_env.REPO_ROOT} to a directory that is the checkout's alone",
            )
            raise InvalidSettings([problem])


def _settings(path: Path) -> ReleaseSettings:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Misconfigured(
            f"{path}: {reason_of(error)}",
            remedy="Write it there, or pass --root, the directory of the application.",
        ) from None
    source = TomlSource.parse(raw, path=str(path), limit=_LIMIT)
    read = source.problems or READER.read(source.data, source.problem)
    if isinstance(read, tuple):
        raise InvalidSettings(read)
    return read


def _deploy_env(root: Path, settings: ReleaseSettings) -> DeployEnv:
    path = root / deploy_env.FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(message=f"cannot be read: {reason_of(error)}", path=str(path))
        raise InvalidSettings([problem]) from None
    parsed = deploy_env.parse(text, path=str(path), root=root, services=settings.services)
    if isinstance(parsed, tuple):
        raise InvalidSettings(parsed)
    return parsed
