"""The file ``<state_dir>/standby.lock``: a ``serve`` here that waits for the lead, and who has it.

Locked for as long as it waits, so that nobody takes one that died for one that waits. Nothing is
decided by it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dispatcher.status.tracker import Status

NAME = "standby.lock"

LIMIT = 4_096
"""Bytes that are read of it."""

_LOCK = struct.Struct("hhqqi4x")
"""``struct flock``; fcntl(2). Such a lock can be tested without being taken, unlike one of flock(2)."""

_WHOLE = (os.SEEK_SET, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Standby:
    """A ``serve`` that waits for the lead.

    Attributes:
        name: of that process, ``host:pid``.
        holder: who has the lead, as the ledger reports it.
    """

    name: str
    holder: str


def read(state_dir: Path) -> Standby | None:
    """The ``serve`` here that waits for the lead; None if none does."""
    try:
        descriptor = os.open(state_dir / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if not _held(descriptor):
            return None
        data = json.loads(os.read(descriptor, LIMIT))
        return Standby(name=str(data["name"]), holder=str(data["holder"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    finally:
        os.close(descriptor)


class StandbyFile:
    """A ``Tracker`` that writes the file while this process waits. Use as a context manager.

    If several wait, the first is shown. A disk that is full or read-only stops no dispatcher.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / NAME
        self._descriptor = -1

    def status(self, status: Status) -> None:
        """Do nothing."""

    def event(self, what: str, /, **facts: object) -> None:
        """Write the file when it begins to wait, or for another holder; end it when it leads."""
        if what == "waiting_for_lead":
            with contextlib.suppress(OSError):
                self._write(str(facts.get("holder", "")))
        elif what == "leading":
            self._release()

    def __enter__(self) -> StandbyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def _write(self, holder: str) -> None:
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, *_WHOLE))
            except OSError:
                os.close(descriptor)
                return
            self._descriptor = descriptor
        name = f"{socket.gethostname()}:{os.getpid()}"
        text = json.dumps(asdict(Standby(name=name, holder=holder[: LIMIT // 4])))
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def _release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _held(descriptor: int) -> bool:
    """Whether another open file has the lock."""
    asked = _LOCK.pack(fcntl.F_RDLCK, *_WHOLE)
    kind, *_ = _LOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)
