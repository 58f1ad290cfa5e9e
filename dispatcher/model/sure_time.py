"""The time as far as clocks can be relied on. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SureTime:
    """The time as far as the clocks can be relied on, for what cannot be undone. Times are seconds
    since the epoch.

    Attributes:
        now: it is at least so late; 0.0 if that is unknown.
        since: only what was written from then on may be judged by ``now``: before, the clock was
            another. 0.0 if it has been steady for long enough.
        doubt: what keeps the clock from being relied on, in words; "" if nothing does.
    """

    now: float
    since: float = 0.0
    doubt: str = ""

    def is_over(self, at: float, *, written_at: float) -> bool:
        """Whether a time is over, which somebody wrote down at another."""
        return at <= self.now and written_at >= self.since
