"""Interprets a remote's answer to a push. Pure.

git reports the outcome of each ref on standard output (``--porcelain``) and, for a ref that could
not be written, the cause on standard error, in lines that begin with ``remote:``. Hooks write such
lines too, so they are evaluated only if git words the outcome vaguely.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from dispatcher.errors import Conflict, Denied

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
_CANNOT = re.compile(r"cannot lock ref '[^']+': (?!is at [0-9a-f]{40})(?!reference already exists)")


class PushRefused(Denied):
    """The remote rejected the push: a hook, a protected branch, missing permissions."""


class BranchExists(Conflict):
    """The remote has a branch of this name already, with other commits."""


class Why(Enum):
    """Why a ref was not pushed."""

    RACE = auto()  # another push came first
    BLOCKED = auto()  # the remote has a ref below or above this name
    LOCKED = auto()  # a lock file of the remote is in the way
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
    reason = f"{summary}: {messages[:400]}" if messages else summary
    if _RACE.search(summary):
        return Refusal(why=Why.RACE, detail=reason)
    if not _VAGUE.search(summary):
        return Refusal(why=Why.REFUSED, detail=reason)
    if _IN_THE_WAY.search(messages):
        return Refusal(why=Why.BLOCKED, detail=reason)
    if lock := _LOCK.search(messages):
        return Refusal(why=Why.LOCKED, detail=lock[1])
    if _CANNOT.search(messages):
        return Refusal(why=Why.REFUSED, detail=reason)
    return Refusal(why=Why.RACE, detail=reason)
