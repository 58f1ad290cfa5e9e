"""One deploy at a time, by flock(2), and the request for one more.

Commands that a deploy runs inherit the lock's descriptor. So after a deploy was killed, the lock is held
until the last of its commands has ended, and no repair begins beside a migration that still runs. They
carry a mark, too (``commands``), by which those are found that left their process group.

Only the deploy user may open the file: whoever can read a file can lock it.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace

from dispatcher.errors import TemporaryError
from dispatcher.host.marked import kill_marked
from dispatcher.release.layout import Layout

_PAUSE_S = 0.05
_GRACE_S = 10.0
_MODE = 0o600
_WIDTH = 512  # bytes of the record, so that a shorter one replaces a longer one


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who holds the lock, as it recorded itself.

    Attributes:
        pid: of the deploy.
        started: ticks after boot at which this process started, since pids are used again.
        user: who runs it.
        trigger: ``timer``, ``person``, or ``plan`` for a plan.
        since: seconds since the epoch.
        group: process group of the command that runs; 0 for none.
    """

    pid: int
    started: int
    user: str
    trigger: str
    since: float
    group: int = 0

    @property
    def alive(self) -> bool:
        """Whether that process still runs."""
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"pid {self.pid} of {self.user}, started by the {self.trigger}, since {at}"


class Held(TemporaryError):
    """Another deploy of this application runs."""


class Lock:
    """The held lock.

    Attributes:
        descriptor: for commands to inherit.
    """

    def __init__(self, descriptor: int, holder: Holder) -> None:
        self.descriptor = descriptor
        self._holder = holder

    def runs(self, group: int) -> None:
        """Record the process group of the command that runs; 0 for none."""
        self._holder = replace(self._holder, group=group)
        _write(self.descriptor, self._holder)


def request(layout: Layout) -> None:
    """Request a deploy of the newest head: by the running one, after it has ended, or else by the
    next one. A deploy calls this if another one holds the lock.
    """
    layout.requested.touch()


@contextmanager
def locked(layout: Layout, trigger: str) -> Iterator[Lock]:
    """Hold the lock.

    Raises:
        Held: another deploy does; names it.
    """
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        with suppress(OSError):  # of another user, which the check of owners reports
            os.fchmod(descriptor, _MODE)
        killed = _killed_holder(descriptor)
        if not _taken(descriptor) and not (killed and _freed(descriptor, killed, layout)):
            raise Held(
                f"another deploy runs: {_holder(descriptor) or 'unknown'}",
                remedy="It deploys the newest head once more when it has ended.",
            )
        if killed is not None:
            kill_marked(str(layout.root))
        pid = os.getpid()
        me = Holder(
            pid=pid, started=_started(pid), user=_user(), trigger=trigger, since=time.time()
        )
        _write(descriptor, me)
        try:
            yield Lock(descriptor, me)
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            # Closing it is not enough if a command left something behind that has it open.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def holder(layout: Layout) -> Holder | None:
    """Who deploys now; None if nobody does. Takes no lock, which a deploy that begins would find held."""
    try:
        descriptor = os.open(layout.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        recorded = _holder(descriptor)
    finally:
        os.close(descriptor)
    return recorded if recorded is not None and recorded.alive else None


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _killed_holder(descriptor: int) -> Holder | None:
    """The last deploy, if it was killed; what it started may still run."""
    holder = _holder(descriptor)
    return None if holder is None or holder.alive else holder


def _freed(descriptor: int, killed: Holder, layout: Layout) -> bool:
    """End the commands of a deploy that was killed, and take the lock that they hold."""
    until = time.monotonic() + _GRACE_S
    while time.monotonic() < until and _holder(descriptor) == killed:
        if killed.group > 1:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(killed.group, signal.SIGKILL)
        kill_marked(str(layout.root))
        if _taken(descriptor):
            return True
        time.sleep(_PAUSE_S)
    return False


def _holder(descriptor: int) -> Holder | None:
    try:
        return Holder(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _write(descriptor: int, holder: Holder) -> None:
    text = json.dumps(asdict(holder)).encode()
    with suppress(OSError):  # a full disk: others then cannot see who holds it
        os.pwrite(descriptor, text.ljust(_WIDTH), 0)


def _started(pid: int) -> int:
    """Start time of a process, in clock ticks after boot; 0 if there is none: proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"
