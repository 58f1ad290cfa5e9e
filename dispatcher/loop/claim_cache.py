"""The claim cache: the claims in memory, and whether they may be out of date.

The ledger is the truth. A step's answer is entered at once. The ledger is read again after a step
whose effect is unknown, and periodically, because others may write there.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

from dispatcher.model.run import Claim, Phase

REREAD_EVERY_S = 60.0
"""Seconds between two reads of the whole ledger. They find what others wrote there without a
notification: ``disinto cancel`` on another machine, or a leader that was about to stop."""


class ClaimCache:
    """Claims by action id. Used by the loop's thread only."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._in_flight: dict[str, Claim] = {}
        self._changed_at: dict[str, float] = {}
        self._touched: set[str] = set()  # ids that changed since the ledger was last read
        self._unread: set[str] = set()  # ids whose claim differs, but that were busy
        self._stale = False
        self._reading_stale = False
        self._reread_at = time.monotonic() + REREAD_EVERY_S

    def open(self, claims: Iterable[Claim]) -> None:
        """Enter the claims that the ledger holds at the start."""
        for claim in claims:
            self._put(claim)

    @property
    def claims(self) -> Mapping[str, Claim]:
        """All claims by action id; a live view."""
        return self._claims

    @property
    def stale(self) -> bool:
        """Whether the ledger may differ from the cache."""
        return self._stale

    @property
    def in_doubt(self) -> bool:
        """Whether the ledger may hold a claim that is not here: until its answer is entered."""
        return self._stale or self._reading_stale

    def in_flight(self) -> list[Claim]:
        """Claims of runs that the engine may have."""
        return list(self._in_flight.values())

    def has_open(self) -> bool:
        """Whether any claim is not a tombstone."""
        return any(c.phase is not Phase.TOMBSTONE for c in self._claims.values())

    def changed_since(self, moment: float) -> set[str]:
        """Ids whose claim changed at a monotonic time or after it."""
        return {i for i, at in self._changed_at.items() if at >= moment}

    def enter(self, claim: Claim) -> None:
        """Enter a claim as the ledger has it now."""
        action_id = claim.key.action_id
        self._touched.add(action_id)
        self._put(claim)
        self._changed_at[action_id] = time.monotonic()

    def remove(self, claim: Claim) -> None:
        """Remove a claim that was released."""
        self._claims.pop(claim.key.action_id, None)
        self._in_flight.pop(claim.key.action_id, None)
        self._changed_at.pop(claim.key.action_id, None)

    def touch(self, action_id: str) -> None:
        """Note the end of a step for this id: a read of the ledger that began before may be older."""
        self._touched.add(action_id)

    def mark_stale(self) -> None:
        """Have the ledger read again: it may differ from the cache."""
        self._stale = True

    def due(self, *, busy: Collection[str]) -> bool:
        """Whether the ledger is to be read again."""
        unread = any(action_id not in busy for action_id in self._unread)
        return self._stale or unread or time.monotonic() >= self._reread_at

    def begin_reading(self) -> None:
        """Note that a read begins: what changes from now on may be newer than its answer."""
        self._reading_stale = self.in_doubt
        self._stale = False
        self._unread.clear()
        self._touched.clear()
        self._reread_at = time.monotonic() + REREAD_EVERY_S

    def differences(
        self, read: Mapping[str, Claim], *, busy: Collection[str]
    ) -> tuple[list[Claim], list[Claim]]:
        """How the ledger differs from the cache: claims to enter and claims to remove. Ids that were
        busy or changed meanwhile are left out, and read again later.
        """
        self._reading_stale = False
        enter: list[Claim] = []
        remove: list[Claim] = []
        for action_id in self._claims.keys() | read.keys():
            mine, theirs = self._claims.get(action_id), read.get(action_id)
            if mine == theirs or (mine and theirs and mine.version == theirs.version):
                continue  # ours may hold more: that it is submitted is not written
            if action_id in busy or action_id in self._touched:
                self._unread.add(action_id)
            elif action_id in read:
                enter.append(read[action_id])
            else:
                remove.append(self._claims[action_id])
        return enter, remove

    def _put(self, claim: Claim) -> None:
        """Enter a claim. A round asks several times what is in flight, so that is kept beside."""
        action_id = claim.key.action_id
        self._claims[action_id] = claim
        if claim.in_flight:
            self._in_flight[action_id] = claim
        else:
            self._in_flight.pop(action_id, None)
