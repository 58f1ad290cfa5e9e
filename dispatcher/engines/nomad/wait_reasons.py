"""Reasons why runs wait for placement."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

from dispatcher.engines.nomad import verdicts
from dispatcher.engines.nomad.api import Evaluation, NomadApi

REASONS_EVERY_S = 5.0
"""Seconds between two queries for the reasons of waiting runs."""

NEW_REASONS_EVERY_S = 1.0
"""The same while the reason of some is unknown: each answer covers all waiting runs, so querying
for each new one would be quadratic."""

PAUSE, LONGEST_PAUSE_S = 50, 30.0
"""Pause between two queries as a multiple of the last one's duration, and its longest, in seconds. Nomad answers
with a few kilobytes for each waiting run, and while 1,000 are dispatched both sides have other work."""


class WaitReasons:
    """Keeps the reasons of all runs that wait, from one call to the next. Thread-safe.

    Args:
        prefix: of the names of runner jobs.
        clock: monotonic seconds.
    """

    def __init__(
        self, api: NomadApi, *, prefix: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._prefix = prefix
        self._clock = clock
        self._reasons: dict[str, str] = {}
        self._asked_at: float | None = None
        self._pause_s = 0.0
        self._lock = threading.Lock()

    def of(self, waiting: Collection[str]) -> Mapping[str, str]:
        """The reasons of these jobs, in words: one call for all of them, and not at every poll."""
        now = self._clock()
        with self._lock:
            all_known = self._reasons.keys() >= set(waiting)
            every_s = REASONS_EVERY_S if all_known else NEW_REASONS_EVERY_S
            every_s = max(every_s, self._pause_s)
            early = self._asked_at is not None and now - self._asked_at < every_s
            if not waiting or early:
                return self._reasons
            self._asked_at = now
        blocked = self._api.evaluations_where(
            f'Status == "blocked" and JobID matches "^{self._prefix}[^/]*/dispatch-"'
        )
        by_job: dict[str, list[Evaluation]] = {}
        for evaluation in blocked:
            by_job.setdefault(evaluation.get("JobID", ""), []).append(evaluation)
        reasons = {child: verdicts.placement(by_job.get(child, ())) for child in waiting}
        with self._lock:
            self._reasons = reasons
            self._pause_s = min(LONGEST_PAUSE_S, PAUSE * (self._clock() - now))
        return reasons

    def forget(self, child: str) -> None:
        """Drop the run."""
        with self._lock:
            self._reasons.pop(child, None)
