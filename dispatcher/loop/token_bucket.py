"""The pace of pushes under load."""

from __future__ import annotations

import time
from collections.abc import Callable

DISTANCE_S = 0.2
"""Seconds between two pushes while there is always something to push: each costs the remote and this
machine about as much CPU time as a short run does."""

AT_ONCE = 2
"""Pushes that may follow each other directly after a rest: of two runs that end together, one may come
while the other is being pushed."""


class PushPace:
    """A token bucket: holds ``at_once`` pushes, and gains one every ``distance_s`` seconds in which no
    push is in flight. Used by one thread.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        distance_s: float = DISTANCE_S,
        at_once: int = AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._distance_s, self._at_once, self._clock = distance_s, at_once, clock
        self._full_at = self._began_at = float("-inf")

    def pause_s(self) -> float:
        """Seconds until the next push is due; 0 if it is."""
        return max(0.0, self._full_at - (self._at_once - 1) * self._distance_s - self._clock())

    def began(self) -> None:
        """Note that a push begins now, due or not."""
        self._began_at = self._clock()

    def ended(self) -> None:
        """Note the end of the push that began last."""
        now = self._clock()
        full_at = max(self._full_at + now - self._began_at, now) + self._distance_s
        self._full_at = min(full_at, now + self._at_once * self._distance_s)
