"""Finds and kills processes by the mark of ``process_record`` that what started them had.

The mark is inherited, whatever a process changes in its environment, session, descriptors or parents.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from dispatcher.host.process_record import MARKED_LIMIT, RLIMIT_LOCKS, mark_of

TRIES = 100
PAUSE_S = 0.05


@contextmanager
def marking(workdir: str) -> Iterator[None]:
    """Within, processes that are started carry the mark; this one does not keep it."""
    soft, hard = resource.getrlimit(RLIMIT_LOCKS)
    with suppress(OSError, ValueError):  # it was lowered before; then there is no mark
        resource.setrlimit(RLIMIT_LOCKS, (mark_of(workdir), hard))
    try:
        yield
    finally:
        resource.setrlimit(RLIMIT_LOCKS, (soft, hard))


def kill_marked(workdir: str) -> bool:
    """Kill every process of ours that carries a mark, until none is left.

    Args:
        workdir: that the mark was made of.

    Returns:
        False if some could not be ended.
    """
    mark = b"%d" % mark_of(workdir)
    return kill_until_none(lambda pid: has_mark(pid, mark))


def kill_until_none(is_ours: Callable[[int], bool]) -> bool:
    """Kill the processes for which something holds, and those that they start meanwhile.

    Returns:
        False if some could not be ended.
    """
    for _ in range(TRIES):
        left = [pid for pid in _pids() if is_ours(pid) and _runs(pid)]
        if not left:
            return True
        for pid in left:
            kill(pid, partial(is_ours, pid))
        time.sleep(PAUSE_S)
    return False


def has_mark(pid: int, mark: bytes) -> bool:
    """Whether a process carries a mark, the decimal digits of ``mark_of``."""
    with suppress(OSError):
        _, _, after = _read(pid, "limits").partition(b"\n" + MARKED_LIMIT)
        return mark in after.partition(b"\n")[0].split()
    return False


def kill(pid: int, is_ours: Callable[[], bool]) -> None:
    """Kill a process after checking, with its pidfd open, that it is still ours."""
    with suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if is_ours():
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 - a Path each is slow


def _runs(pid: int) -> bool:
    """Whether a process has not ended; one that was not collected yet has."""
    with suppress(OSError, IndexError):
        return _read(pid, "stat").rpartition(b")")[2].split()[0] not in b"ZX"
    return False


def _read(pid: int, name: str) -> bytes:
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 16384)
    finally:
        os.close(descriptor)
