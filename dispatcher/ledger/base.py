"""The interface of ledgers: state that survives a crash of the dispatcher.

Contract suite: ``tests/contract/ledger.py``; every implementation passes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from dispatcher.errors import Conflict, PermanentError
from dispatcher.model.run import Claim


class AlreadyClaimed(Conflict):
    """Another claim for the same action id exists.

    Attributes:
        existing: that claim, as stored in the ledger.
    """

    def __init__(self, existing: Claim) -> None:
        super().__init__(f"action {existing.key.action_id} is already claimed ({existing.phase})")
        self.existing = existing


class ClaimTooLarge(PermanentError):
    """A claim does not fit the ledger; nothing was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A small text that the ledger keeps beside the claims.

    Attributes:
        text: at most 16,000 characters.
        version: of this text; every write changes it; never 0.
    """

    text: str
    version: int


class Lease(Protocol):
    """Leadership, for as long as it is held."""

    def held(self) -> bool:
        """False from the moment at which another process could have become leader. Never blocks."""
        ...


class Ledger(Protocol):
    """Claims by action id, each write a compare-and-set. Methods are thread-safe.

    Every method raises ``Unavailable`` (ledger) when the store cannot be reached.
    """

    def claim(self, claim: Claim) -> Claim:
        """Write a claim that must not exist yet; returns it with its version.

        Raises:
            AlreadyClaimed: a claim for this id exists (also one whose phase is ended).
        """
        ...

    def update(self, claim: Claim) -> Claim:
        """Replace a claim if its version is still ``claim.version``; returns the new version.

        Raises:
            Conflict: it changed or is gone.
            ClaimTooLarge: its result is larger than the ledger can hold.
        """
        ...

    def get(self, action_id: str) -> Claim | None:
        """The claim of an action id, or None if there is none."""
        ...

    def open_runs(self) -> Sequence[Claim]:
        """All claims that have not been released, in one call."""
        ...

    def release(self, claim: Claim) -> None:
        """Remove a claim if its version is still ``claim.version``; no error if it is already gone.

        Raises:
            Conflict: it changed since.
        """
        ...

    def note(self, name: str) -> Note | None:
        """The note of this name (lower-case letters and hyphens), or None."""
        ...

    def write_note(self, name: str, text: str, *, version: int) -> Note:
        """Write a note if its version is still ``version``; 0: if there is none.

        Raises:
            Conflict: it changed or is gone.
        """
        ...

    def place(self) -> str:
        """An identifier of this ledger's location, which differs for a copy of it; "" if it cannot
        be copied by copying files, or while nothing was written.
        """
        ...

    def leader(self, *, name: str, waiting: Callable[[str], None]) -> AbstractContextManager[Lease]:
        """Become the one leader; blocks until it succeeds, calling ``waiting(holder)`` in the
        meantime.

        Args:
            name: this process's name in messages, e.g. ``host:pid``.
            waiting: called at least once with the holder's name when another leads; may raise to
                give up.
        """
        ...
