"""Determines which process holds a lock file, for the message that names it. Linux only; None
elsewhere.

A lock (flock) belongs to an open file description, which a child may have inherited: the process
that took it may be gone. So the holders are those that have such a description open, as
``/proc/<pid>/fdinfo/<fd>`` says (proc(5)).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_STOPPED = "Tt"
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a lock.

    Attributes:
        pid: its number.
        command: its arguments, shortened; as it wrote them.
        stopped: whether it was stopped by a signal or a debugger, and so releases nothing.
    """

    pid: int
    command: str
    stopped: bool


def holder_of(fd: int) -> Holder | None:
    """Another process that holds the lock of an open file, preferably a stopped one. None if that
    cannot be determined: processes of other users, no ``/proc``.
    """
    file = os.fstat(fd)
    holders = sorted(_holders((file.st_dev, file.st_ino)), key=lambda h: (not h.stopped, h.pid))
    return holders[0] if holders else None


def _holders(file: tuple[int, int]) -> Iterator[Holder]:
    with suppress(OSError):
        for process in _PROC.iterdir():
            if process.name.isdecimal() and int(process.name) != os.getpid():
                with suppress(OSError, ValueError, IndexError):  # it may be gone by now
                    if _holds(process, file):
                        yield _described(process)


def _holds(process: Path, file: tuple[int, int]) -> bool:
    for fd in (process / "fd").iterdir():
        with suppress(OSError):
            opened = fd.stat()
            if (opened.st_dev, opened.st_ino) == file:
                info = (process / "fdinfo" / fd.name).read_text()
                if any(x.startswith("lock:") and "FLOCK" in x for x in info.splitlines()):
                    return True
    return False


def _described(process: Path) -> Holder:
    arguments = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    command = b" ".join(arguments).decode("utf-8", "replace")
    state = (process / "stat").read_text().rpartition(")")[2].split()[0]
    return Holder(pid=int(process.name), command=command[:_SHOWN], stopped=state in _STOPPED)
