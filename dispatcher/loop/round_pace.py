"""The pace of the loop's rounds under load."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 0.05
"""Share of a processor that deciding may take. A round's cost grows with what waits."""

AT_ONCE_S = 0.2
"""CPU seconds of deciding that may follow each other directly after a rest: the way of one action, from the
fetch to its start or from its end to the push, is a dozen rounds, each of which would otherwise wait."""

LONGEST_S = 0.1
"""Longest wait for more events before a round."""


class RoundPace:
    """A token bucket: holds ``at_once_s`` CPU seconds of deciding, and gains ``share`` of the time that
    passes. Used by one thread.

    Args:
        clock: monotonic seconds.
        cpu_clock: CPU seconds of this thread. The duration of a round is of no use: it also counts the threads that
            had to be waited for.
    """

    def __init__(
        self,
        *,
        share: float = SHARE,
        at_once_s: float = AT_ONCE_S,
        longest_s: float = LONGEST_S,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._share, self._at_once_s, self._longest_s = share, at_once_s, longest_s
        self._clock, self._cpu_clock = clock, cpu_clock
        self._left_s, self._at, self._began = at_once_s, clock(), cpu_clock()

    def begin(self) -> None:
        """Note that a round begins."""
        self._began = self._cpu_clock()

    def decided(self) -> float:
        """Note that the round ends; returns until when (monotonic seconds) events are gathered before the next. In
        the past or present: an event is acted on at once.
        """
        took_s = self._cpu_clock() - self._began
        now = self._clock()
        left_s = min(self._at_once_s, self._left_s + (now - self._at) * self._share) - took_s
        # What exceeds the longest wait is forgiven: it is not made up for by later rounds.
        self._left_s, self._at = max(left_s, -self._longest_s * self._share), now
        return now + max(0.0, -self._left_s / self._share)
