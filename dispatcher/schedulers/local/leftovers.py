"""End processes of a run whose runner is gone. A living runner does this by itself."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from dispatcher.schedulers.local.spool import Spool

_TRIES = 100
_PAUSE_S = 0.05


def sweep(spool: Spool) -> bool:
    """Kill every process that carries the run's mark in its environment.

    Returns:
        False where some could not be ended.
    """
    for _ in range(_TRIES):
        left = _marked(spool)
        if not left:
            return True
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)
    return False


def kill_tree(pid: int) -> None:
    """Kill everything below a process, without the process itself."""
    children: dict[int, list[int]] = {}
    for other, rest in _stats():
        children.setdefault(int(rest[1]), []).append(other)
    below = [pid]
    while below:
        for child in children.get(below.pop(), []):
            below.append(child)
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)


def _marked(spool: Spool) -> list[int]:
    # The folder's path is in no other run's environment, not even of another dispatcher.
    mark = f"DISINTO_WORKDIR={spool.home}".encode()
    found = []
    for pid, rest in _stats():
        if rest[0] == b"Z":
            continue
        with suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def _stats() -> list[tuple[int, list[bytes]]]:
    """Process id, and the fields of /proc/PID/stat from the state on."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a Path each is slow
        if entry.isdigit():
            with suppress(OSError):
                text = Path(f"/proc/{entry}/stat").read_bytes()
                found.append((int(entry), text.rpartition(b")")[2].split()))
    return found
