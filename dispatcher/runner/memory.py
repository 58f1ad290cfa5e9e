"""Detects out-of-memory kills by the kernel's counters for the runner's control group.

Engines do not always notice: Docker detects it on some kernels only, and none reports that only a
child of the formula was killed. The kernel's own count can be read wherever a container shows it:
``memory.events``, or ``memory.oom_control`` of version 1 (see ``cgroups(7)``).
"""

from __future__ import annotations

from contextlib import suppress

_FILES = (
    ("memory.events", "memory.max"),
    ("memory/memory.oom_control", "memory/memory.limit_in_bytes"),
)
"""Count and limit, by version of the control groups."""

_NO_LIMIT = 1 << 60
"""Version 1 reports at least this value if there is no limit."""


class Memory:
    """Counts from its creation.

    Args:
        root: mount point of the control groups; a container sees its own there.
    """

    def __init__(self, root: str = "/sys/fs/cgroup") -> None:
        self._root = root
        self._before = self._kills()

    def ran_out(self) -> str:
        """A message that a process was killed for lack of memory, with the limit; "" if none was."""
        if self._kills() <= self._before:
            return ""
        limit = self._limit()
        return f"out of memory (limit {limit // (1024 * 1024)} MiB)" if limit else "out of memory"

    def _kills(self) -> int:
        for name, _ in _FILES:
            for key, _, value in (line.partition(" ") for line in self._read(name).splitlines()):
                if key == "oom_kill":
                    return int(value)
        return 0

    def _limit(self) -> int:
        for _, name in _FILES:
            with suppress(ValueError):  # version 2 says "max" where there is none
                limit = int(self._read(name))
                return limit if limit < _NO_LIMIT else 0
        return 0

    def _read(self, name: str) -> str:
        try:
            with open(f"{self._root}/{name}", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to load
                return file.read()
        except OSError:
            return ""
