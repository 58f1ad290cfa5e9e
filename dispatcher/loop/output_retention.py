"""Removes the output of runs month by month, as ``[output] keep_months`` says.

What is removed cannot be restored, and a clock that is wrong for an hour must not do that. So nothing
is removed before the clock has run steadily for days, in which other things fail that people notice:
certificates, tokens, schedules. Of the months that are too old, one goes per pass, the oldest first.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dispatcher.errors import Dependency
from dispatcher.loop.pollers import Pollers
from dispatcher.loop.steady_clock import STEADY_S, ClockRecord
from dispatcher.ops_repo import OutputRefs
from dispatcher.status.tracker import Tracker

INTERVAL_S = 3_600.0
"""Seconds between two looks at the months on the remote."""

NAME = "output-retention"


class OutputRetention:
    """Removes months that are too old. Used by the loop's thread only.

    Args:
        refs: on the remote.
        pollers: run the calls.
        tracker: notified of each month that was removed.
        led: raises if the lead is no longer held.
        keep_months: before the current one; 0: none is removed.
        record: of the clock.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        refs: OutputRefs,
        pollers: Pollers,
        tracker: Tracker,
        *,
        led: Callable[[], None],
        keep_months: int,
        record: ClockRecord,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._refs, self._pollers, self._tracker, self._led = refs, pollers, tracker, led
        self._keep_months, self._record, self._clock = keep_months, record, clock
        self._next_at = 0.0

    def work(self) -> None:
        """Begin a look, if it is time."""
        if not self._keep_months or time.monotonic() < self._next_at:
            return
        if self._pollers.free(Dependency.REMOTE, NAME):
            self._next_at = time.monotonic() + INTERVAL_S
            self._pollers.run(None, self._remove, self._removed, name=NAME)

    def next_in(self) -> float | None:
        """Seconds until the next look; None if there is none."""
        if not self._keep_months or not self._pollers.free(Dependency.REMOTE, NAME):
            return None
        return max(0.0, self._next_at - time.monotonic())

    def _remove(self) -> str:
        """Remove one month; returns which, or ""."""
        now = self._clock()
        if self._record.steady_for(now) < STEADY_S:
            return ""
        oldest = oldest_kept(now, self._keep_months)
        month = min(self._refs.months(), default="")
        if not month or month >= oldest:
            return ""
        self._led()
        self._refs.remove(month)
        return month

    def _removed(self, month: str) -> None:
        if month:
            self._tracker.event("output_removed", month=month)


def oldest_kept(now: float, keep_months: int) -> str:
    """The oldest month (``YYYY-MM``, UTC) that is kept.

    Args:
        now: seconds since the epoch.
        keep_months: before the current one.
    """
    today = time.gmtime(now)
    year, month = divmod(today.tm_year * 12 + today.tm_mon - 1 - keep_months, 12)
    return f"{year:04}-{month + 1:02}"
