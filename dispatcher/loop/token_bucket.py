"""A token bucket: how often something may be done that costs others: pushes (``result_writer``), or having
the gates asked again (``asking_again``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class TokenBucket:
    """Holds ``at_once`` tokens, one for each time that it may be done, and gains one in every interval
    in which it is not being done. It only advises: what is done without a token leaves at most one
    interval to wait. Used by one thread.

    Args:
        interval_s: seconds between two times under load; the shortest if there is a ``factor``.
        factor: makes the interval so many times as long as the last time took.
        longest_s: the longest interval, in seconds, that ``factor`` makes.
        at_once: times that may follow each other directly after a rest.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        interval_s: float,
        factor: float = 0.0,
        longest_s: float = math.inf,
        at_once: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shortest_s, self._longest_s, self._factor = interval_s, longest_s, factor
        self._at_once, self._clock = at_once, clock
        self._interval_s = interval_s
        self._full_at = self._began_at = float("-inf")

    def pause_s(self) -> float:
        """Seconds until there is a token; 0 if there is one."""
        return max(0.0, self._full_at - (self._at_once - 1) * self._interval_s - self._clock())

    def began(self) -> None:
        """Note that it is being done from now on, due or not."""
        self._began_at = self._clock()

    def ended(self) -> None:
        """Note the end of what began last."""
        now = self._clock()
        took_s = now - self._began_at
        self._interval_s = max(self._shortest_s, min(took_s * self._factor, self._longest_s))
        full_at = max(self._full_at + took_s, now) + self._interval_s
        self._full_at = min(full_at, now + self._at_once * self._interval_s)
