"""The settings file, which ``serve`` reads at its start: which of its keys are not in force.

The file is never reloaded. A change is checked, so that its author is warned that it takes effect at
the next restart, or that it would keep ``serve`` from starting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatcher.errors import DisintoError, Misconfigured
from dispatcher.settings import Settings

SETTINGS = "settings"
"""Its name beside the files of the rules."""

STAYS_IN_FORCE = "'disinto serve' keeps the settings that it read at its start"


class NeedsRestart(Misconfigured):
    """The file is valid, but differs from the settings in force."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnSettings:
    """The settings file and the settings in force.

    Attributes:
        path: the file.
        in_force: what was read at the start.
        read: reads the file again, with the environment of this process.
    """

    path: Path
    in_force: Settings
    read: Callable[[], Settings]

    def check(self, _data: bytes) -> None:
        """Check that the file matches the settings in force.

        Raises:
            NeedsRestart: it differs.
            Misconfigured: it is invalid.
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
