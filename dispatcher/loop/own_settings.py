"""The settings' own file, which ``serve`` reads at its start: what of it is not in force.

Nothing of it is reloaded. A change is checked, so that who made it learns that it waits for a restart,
or that it would keep ``serve`` from starting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatcher.errors import DisintoError, Misconfigured
from dispatcher.settings import Settings

SETTINGS = "settings"
"""How it is called beside the files of the rules."""

KEPT = "'disinto serve' keeps the settings that it read at its start"


class NeedsRestart(Misconfigured):
    """The file is right, and says something else than what is in force."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnSettings:
    """The file and what is in force of it.

    Attributes:
        path: the file.
        in_force: what was read at the start.
        read: reads the file again, with the environment of this process.
    """

    path: Path
    in_force: Settings
    read: Callable[[], Settings]

    def check(self, _data: bytes) -> None:
        """Return if the file says what is in force.

        Raises:
            NeedsRestart: it says something else.
            Misconfigured: it is wrong.
        """
        try:
            now = self.read()
        except DisintoError as error:
            raise Misconfigured(
                f"it was changed, and would keep 'disinto serve' from starting: {error}"
            ) from error
        if keys := changed_keys(self.in_force, now):
            raise NeedsRestart(
                f"it was changed, which takes effect at the next restart: {', '.join(keys)}"
            )


def changed_keys(before: Settings, now: Settings) -> list[str]:
    """The keys whose values differ, as they are written: ``[limits] max_in_flight``."""
    old, new = before.model_dump(), now.model_dump()
    keys = []
    for name in old:
        if not isinstance(old[name], dict):
            keys += [name] if old[name] != new[name] else []
            continue
        keys += [f"[{name}] {key}" for key in _differing(old[name], new[name])]
    return keys


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
