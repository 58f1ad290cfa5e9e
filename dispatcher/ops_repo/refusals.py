"""Interprets a remote's answer to a push. Pure.

git reports the outcome of each ref on standard output (``--porcelain``) and, for a ref that could
not be written, the cause on standard error, in lines that begin with ``remote:``. Hooks write such
lines too, so they are evaluated only if git words the outcome vaguely.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from dispatcher.errors import Conflict, Denied, PermanentError, Unavailable

_RACE = re.compile(
    r"fetch first|non-fast-forward|stale info|incorrect old value|reference already exists"
    r"|is at [0-9a-f]{40}"
)
_VAGUE = re.compile(
    r"failed to update ref|failed to lock|cannot lock ref|atomic transaction failed"
    r"|atomic push fail"
)
_IN_THE_WAY = re.compile(r"'[^']+' exists; cannot create '[^']+'")
_LOCK = re.compile(r"Unable to create '([^']+\.lock)': File exists")
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|Read-only file system")
_NOT_WRITTEN = re.compile(r"unpacker error|unable to migrate objects")
_NO_DIRECTORY = re.compile(
    r"unable to migrate objects|remote unpack failed: unable to create temporary object directory"
)
_NO_SHALLOW_FILE = re.compile(r"/shallow_\w{6}'?: ")
_UNPACK = "error: remote unpack failed: "
_CANNOT = re.compile(r"cannot lock ref '[^']+': (?!is at [0-9a-f]{40})(?!reference already exists)")


class PushRefused(Denied):
    """The remote rejected the push: a hook, a protected branch, missing permissions."""


class NotWritable(Unavailable):
    """The remote, or this machine for it, can store nothing at the moment: a disk is full or read-only."""


class OutputsRefused(PermanentError):
    """The output of runs cannot be pushed: the remote does not take it, or it cannot be read here. Nothing was
    pushed to the branch.
    """


class BranchExists(Conflict):
    """The remote has a branch of this name already, with other commits."""


class Why(Enum):
    """Why a ref was not pushed."""

    RACE = auto()  # another push came first
    BLOCKED = auto()  # the remote has a ref below or above this name
    LOCKED = auto()  # a lock file of the remote is in the way
    NOT_WRITABLE = auto()  # the remote can store nothing
    REFUSED = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """One ref that was not pushed.

    Attributes:
        why: see ``Why``.
        detail: the lock file, or the remote's message.
    """

    why: Why
    detail: str


def refusal(summary: str, err: str) -> Refusal:
    """The refusal in the outcome of a ref.

    Args:
        summary: git's third column, such as ``[remote rejected] (failed to update ref)``.
        err: git's standard error.
    """
    messages = "; ".join(
        stripped
        for line in err.splitlines()
        if line.startswith("remote:") and (stripped := line.removeprefix("remote:").strip())
    )
    unpack = (x.removeprefix(_UNPACK) for x in err.splitlines() if x.startswith(_UNPACK))
    why = messages or next(unpack, "")
    reason = f"{summary}: {why[:400]}" if why else summary
    if _RACE.search(summary):
        return Refusal(why=Why.RACE, detail=reason)
    if _not_written(summary, err):
        return Refusal(why=Why.NOT_WRITABLE, detail=reason)
    if not _VAGUE.search(summary):
        return Refusal(why=Why.REFUSED, detail=reason)
    if _IN_THE_WAY.search(messages):
        return Refusal(why=Why.BLOCKED, detail=reason)
    if lock := _LOCK.search(messages):
        return Refusal(why=Why.LOCKED, detail=lock[1])
    cannot = _CANNOT.search(messages)
    return Refusal(why=Why.REFUSED if cannot else Why.RACE, detail=reason)


def no_room(err: str) -> bool:
    """Whether git says that a disk is full or read-only."""
    return bool(_NO_ROOM.search(err))


def not_writable(err: str) -> bool:
    """Whether git, which reported the outcome of no ref, says that the remote can store nothing."""
    return bool(no_room(err) or _NO_SHALLOW_FILE.search(err))


def _not_written(summary: str, err: str) -> bool:
    ours = _NOT_WRITTEN.search(summary) or _VAGUE.search(summary)  # else it is a hook's word
    return bool(ours and (no_room(err) or _NO_DIRECTORY.search(f"{summary}\n{err}")))
