"""The registry of engines: those of this package and those of other packages.

Another package names its engine in the entry point group ``disinto.engines``, or calls ``register``.
An engine is loaded when it is requested; reading the settings requests all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from dispatcher.errors import Misconfigured
from dispatcher.model.run import ENGINE_NAME

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from dispatcher.engines.base import Engine

_OWN: Mapping[str, str] = {
    "local": "dispatcher.engines.local.engine",
    "nomad": "dispatcher.engines.nomad.engine",
}
"""The module of each engine of this package; its object is called ``ENGINE``."""

GROUP = "disinto.engines"
"""Entry points of engines in other packages: the engine's name and its object."""

_registered: dict[str, Engine] = {}


def names() -> tuple[str, ...]:
    """The engines by name: our own first, then those of other packages in alphabetical order."""
    return (*_OWN, *sorted({*_entry_points(), *_registered} - _OWN.keys()))


def get(name: str) -> Engine:
    """The engine of this name.

    Raises:
        Misconfigured: there is none, or its package cannot be loaded.
    """
    if name in _OWN:
        engine: Engine = import_module(_OWN[name]).ENGINE
        return engine
    if name in _registered:
        return _registered[name]
    if name in _entry_points():
        return _loaded(_entry_points()[name])
    raise Misconfigured(
        f"there is no engine {name!r}",
        remedy=f"Set scheduler to one of {', '.join(names())}, or install the package with it.",
    )


def engines() -> tuple[Engine, ...]:
    """All engines.

    Raises:
        Misconfigured: see ``get``.
    """
    return tuple(map(get, names()))


def register(engine: Engine) -> None:
    """Register an engine in this process.

    Raises:
        Misconfigured: its name is invalid or taken.
    """
    _check(engine, engine.name)
    if _registered.setdefault(engine.name, engine) is not engine:
        raise Misconfigured(f"there are two engines {engine.name!r}", remedy="Rename one.")


def unregister(engine: Engine) -> None:
    """Undo ``register``."""
    _registered.pop(engine.name, None)


@cache
def _entry_points() -> Mapping[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _loaded(point: EntryPoint) -> Engine:
    try:
        engine: Engine = point.load()
    except Exception as error:
        raise Misconfigured(
            f"the engine {point.name!r} of {_package(point)} cannot be loaded: "
            f"{type(error).__name__}: {error}",
            remedy="Repair that package, or uninstall it.",
        ) from error
    _check(engine, point.name)
    return engine


def _check(engine: Engine, name: str) -> None:
    from dispatcher.settings.models import Settings

    if engine.name != name:
        what = f"the engine {engine.name!r} is registered by the name {name!r}"
        raise Misconfigured(what, remedy="Give it one name.")
    if not re.fullmatch(ENGINE_NAME, name):
        what = f"{name!r} cannot be the name of an engine"
        raise Misconfigured(what, remedy="Use up to 32 of a-z, 0-9, - and _; a letter first.")
    if name in _OWN or name in Settings.model_fields:
        what = f"no engine of another package can be called {name!r}: it is a key of the settings"
        raise Misconfigured(what, remedy="Rename it.")


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
