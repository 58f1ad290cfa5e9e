"""Kills processes of a run whose runner is gone. A live runner does this itself.

They are recognized by two inherited marks: the run's directory in their environment, which a
program may clear, and a limit that is never enforced (``process_record``), which only root can
raise again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from dispatcher.engines.local.spool import Spool
from dispatcher.host.marked import has_mark, kill, kill_until_none
from dispatcher.host.process_record import mark_of

_STARTED = 19  # after the name: starttime, in clock ticks since boot; proc(5)


def sweep(spool: Spool) -> bool:
    """Kill every process that carries a mark of the run.

    Returns:
        False if some could not be ended.
    """
    return kill_until_none(lambda pid: _is_marked(pid, spool))


def kill_tree(pid: int) -> None:
    """Kill all descendants of a process, but not the process itself."""
    children: dict[int, list[tuple[int, bytes]]] = {}
    for other, rest in _stats():
        children.setdefault(int(rest[1]), []).append((other, rest[_STARTED]))
    below = [pid]
    while below:
        for child, started in children.get(below.pop(), []):
            below.append(child)
            kill(child, partial(_is_same, child, started))


def _is_marked(pid: int, spool: Spool) -> bool:
    # The directory's path is in no other run's environment, not even of another dispatcher.
    workdir = str(spool.home)
    with suppress(OSError):
        if f"DISINTO_WORKDIR={workdir}".encode() in _read(pid, "environ").split(b"\0"):
            return True
    return has_mark(pid, b"%d" % mark_of(workdir))


def _is_same(pid: int, started: bytes) -> bool:
    return _fields(pid)[_STARTED] == started


def _stats() -> list[tuple[int, list[bytes]]]:
    """Process id, and the fields of /proc/PID/stat from the state on."""
    stats = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a Path each is slow
        if entry.isdigit():
            with suppress(OSError):
                stats.append((int(entry), _fields(int(entry))))
    return stats


def _fields(pid: int) -> list[bytes]:
    return _read(pid, "stat").rpartition(b")")[2].split()


def _read(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()
