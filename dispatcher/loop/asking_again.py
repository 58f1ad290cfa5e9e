"""Has the gates asked again when a webhook or a person says so, at a bounded rate.

What the gates keep is dropped at once: no run starts by it. What the loop knows of their decisions is
dropped at most so often: an action whose decision is dropped starts only after the next one, so a repeated
signed call could keep it from starting, and have the forge asked without end.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dispatcher.loop.token_bucket import TokenBucket
from dispatcher.loop.view import View

AT_ONCE = 4
"""Requests that are followed at once after a rest: a merge is reported by two calls, a review by one."""

EVERY_S = 1.0
"""Seconds for each further one; those that come in between are followed as one."""


class AskingAgain:
    """Used by the loop's thread only.

    Args:
        view: whose decisions are dropped.
        clock: monotonic seconds.
    """

    def __init__(self, view: View, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._pace = TokenBucket(interval_s=EVERY_S, at_once=AT_ONCE, clock=clock)
        self._requested = self._all = False

    def request(self, *, keep_approvals: bool) -> None:
        """Have the gates asked again, now or as soon as may be.

        Args:
            keep_approvals: whether what they approved stays until it is due.
        """
        self._view.components.gate.invalidate(keep_approvals=keep_approvals)
        self._requested, self._all = True, self._all or not keep_approvals
        self.work()

    def work(self) -> None:
        """Follow what was requested, if it may be."""
        if not self._requested or self._pace.pause_s() > 0:
            return
        keep_approvals = not self._all
        self._requested = self._all = False
        self._pace.began()
        self._view.drop_answers(keep_approvals=keep_approvals)
        self._pace.ended()

    def next_in(self) -> float | None:
        """Seconds until what was requested may be followed; None if nothing was."""
        return self._pace.pause_s() if self._requested else None
