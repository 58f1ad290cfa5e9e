"""The claim cache: the claims as this process knows them, and how far it may be trusted.

The ledger is the truth. A step's answer is entered at once; after a step that ended in doubt, and
once in a while, the ledger is read again, since others may write there.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

from dispatcher.model.run import Claim, Phase

REREAD_EVERY_S = 60.0
"""Seconds between two looks at the whole ledger: what others wrote there (``disinto cancel`` on
another machine, a leader that was on its way out) is learned without a ring."""


class ClaimCache:
    """Claims by action id. Used by the loop's thread only."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._changed_at: dict[str, float] = {}
        self._touched: set[str] = set()  # ids that changed since the ledger was last asked
        self._unread: set[str] = set()  # ids whose claim is another, but that were busy
        self._doubtful = False
        self._reread_at = time.monotonic() + REREAD_EVERY_S

    def open(self, claims: Iterable[Claim]) -> None:
        """What the ledger holds at the start."""
        self._claims.update((claim.key.action_id, claim) for claim in claims)

    @property
    def claims(self) -> Mapping[str, Claim]:
        """All of them, as they change."""
        return self._claims

    @property
    def doubtful(self) -> bool:
        """Whether the ledger may hold something else."""
        return self._doubtful

    def in_flight(self) -> list[Claim]:
        """Claims of runs that the engine may know."""
        return [claim for claim in self._claims.values() if claim.in_flight]

    def has_open(self) -> bool:
        """Whether any run is not over."""
        return any(c.phase is not Phase.TOMBSTONE for c in self._claims.values())

    def changed_since(self, moment: float) -> set[str]:
        """Ids whose claim changed at a monotonic time or after it."""
        return {i for i, at in self._changed_at.items() if at >= moment}

    def enter(self, claim: Claim) -> None:
        """A claim as the ledger has it now."""
        action_id = claim.key.action_id
        self._touched.add(action_id)
        self._claims[action_id] = claim
        self._changed_at[action_id] = time.monotonic()

    def strike(self, claim: Claim) -> None:
        """A claim that was released."""
        self._claims.pop(claim.key.action_id, None)
        self._changed_at.pop(claim.key.action_id, None)

    def touch(self, action_id: str) -> None:
        """A step of this id is over: an answer that the ledger gave meanwhile may be older."""
        self._touched.add(action_id)

    def doubt(self) -> None:
        """The ledger may hold something else than the cache."""
        self._doubtful = True

    def due(self, *, busy: Collection[str]) -> bool:
        """Whether the ledger is to be read again."""
        unread = any(action_id not in busy for action_id in self._unread)
        return self._doubtful or unread or time.monotonic() >= self._reread_at

    def begin_reading(self) -> None:
        """The ledger is being asked: what changes from now on may be newer than its answer."""
        self._doubtful = False
        self._unread.clear()
        self._touched.clear()
        self._reread_at = time.monotonic() + REREAD_EVERY_S

    def differences(
        self, read: Mapping[str, Claim], *, busy: Collection[str]
    ) -> tuple[list[Claim], list[Claim]]:
        """What the ledger's answer changes: claims to enter and claims to strike. What was busy or
        changed meanwhile is left out, and the ledger read once more for it.
        """
        enter: list[Claim] = []
        strike: list[Claim] = []
        for action_id in self._claims.keys() | read.keys():
            if self._claims.get(action_id) == read.get(action_id):
                continue
            if action_id in busy or action_id in self._touched:
                self._unread.add(action_id)
            elif action_id in read:
                enter.append(read[action_id])
            else:
                strike.append(self._claims[action_id])
        return enter, strike
