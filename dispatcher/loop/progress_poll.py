"""Reads what runs report about themselves, for people. No decision depends on it.

A run is read every few seconds while it reports; one that reported nothing is read ever more rarely. Of a
formula that has not reported yet a few runs are read, and the others once one of these did; of one that never
does, hardly any. A pass reads a few runs only. So hundreds of runs cost an engine a few small reads a second, and
most none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from dispatcher.engines.base import Scheduler
from dispatcher.loop.claim_cache import ClaimCache
from dispatcher.loop.pollers import Pollers
from dispatcher.model.progress import Progress
from dispatcher.model.run import Claim, Observation, RunKey, RunState

NAME = "progress"

EVERY_S = 4.0
"""Seconds between two reads of a run that reports, and between two passes of ``AT_ONCE`` runs."""

FIRST_S = 3.0
"""Seconds until the first read of a run: most end sooner, also where many are started at once, and are not read.
"""

SOONEST_S = 1.0
"""Seconds from the first read to the second, which finds what the run reported meanwhile, and between two
passes of a few runs.
"""

LONGEST_PAUSE_S = 60.0
"""Longest pause between two reads of a run that reported nothing new."""

AT_ONCE = 20
"""Runs read in one pass: of each formula those that waited longest."""

SILENT = 3
"""Runs of a formula that are read, or were and ended without a report, while it is believed to make none: its
further runs are read for the first time after ``LONGEST_PAUSE_S``. One report, or another version of the
formula, ends that.
"""

FORMULAS = 1_000
"""Formulas of which that is known, at most."""


@dataclass(kw_only=True, slots=True)
class _Read:
    """The last read of one run, of the formula with this digest; ``soon``: whether its first read does not wait for
    ``LONGEST_PAUSE_S``, or until another run has reported.
    """

    formula: str
    soon: bool
    times: int = 0
    progress: Progress | None = None
    due_at: float = 0.0
    pause_s: float = SOONEST_S


class ProgressPoll:
    """Keeps the progress of the runs in flight. Used by the loop's thread only.

    Attributes:
        progress: by run; without those that reported nothing.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        claims: ClaimCache,
        pollers: Pollers,
        *,
        observations: Callable[[], Mapping[RunKey, Observation] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler, self._claims, self._pollers = scheduler, claims, pollers
        self._observations, self._clock = observations, clock
        self._reads: dict[RunKey, _Read] = {}
        self._silent: dict[str, int] = {}  # runs without a report; 0 once there was one
        self._due_at = 0.0
        self.progress: Mapping[RunKey, Progress] = {}

    def work(self) -> None:
        """Begin a pass, if one is due."""
        running = self._running()
        self._forget(running.keys())
        now = self._clock()
        if not running or now < self._due_at or not self._pollers.free(None, NAME):
            return
        self._begin({key: claim for key, claim in running.items() if key not in self._reads})
        batch = [running[key] for key in self._longest_due(now)[:AT_ONCE]]
        self._due_at = now + max(SOONEST_S, EVERY_S * len(batch) / AT_ONCE)
        if batch:
            self._pollers.run(
                None,
                lambda: self._scheduler.progress(batch),
                lambda answer: self._learn(batch, answer),
                name=NAME,
            )

    def _longest_due(self, now: float) -> list[RunKey]:
        """Runs to be read now: of each formula the one that waited longest, then of each the next."""
        due = sorted(
            (read.due_at, key.token, key) for key, read in self._reads.items() if read.due_at <= now
        )
        turns, order = Counter[str](), []
        for place, (_, _, key) in enumerate(due):
            formula = self._reads[key].formula
            order.append((turns[formula], place, key))
            turns[formula] += 1
        return [key for _, _, key in sorted(order)]

    def next_in(self) -> float | None:
        """Seconds until the next pass; None while nothing runs."""
        if not self._reads or not self._pollers.free(None, NAME):
            return None
        soonest = min(read.due_at for read in self._reads.values())
        return max(0.0, max(self._due_at, soonest) - self._clock())

    def _running(self) -> dict[RunKey, Claim]:
        observations = self._observations() or {}
        return {
            claim.key: claim
            for claim in self._claims.in_flight()
            if (seen := observations.get(claim.key)) and seen.state is RunState.RUNNING
        }

    def _begin(self, begun: Mapping[RunKey, Claim]) -> None:
        """Decide when runs that have just begun are read for the first time."""
        if not begun:
            return
        tried = Counter(self._silent)
        tried.update(read.formula for read in self._reads.values() if read.soon)
        for key, claim in begun.items():
            formula = claim.formula.digest if claim.formula else ""
            soon = self._reports(formula) or tried[formula] < SILENT
            tried[formula] += soon
            first_s, pause_s = (FIRST_S, SOONEST_S) if soon else (LONGEST_PAUSE_S, LONGEST_PAUSE_S)
            self._reads[key] = _Read(
                formula=formula, soon=soon, due_at=self._clock() + first_s, pause_s=pause_s
            )

    def _reports(self, formula: str) -> bool:
        return self._silent.get(formula) == 0

    def _learn(self, batch: Collection[Claim], answer: Mapping[RunKey, Progress]) -> None:
        now = self._clock()
        for claim in batch:
            read = self._reads.get(claim.key)
            if read is None:
                continue  # it ended meanwhile
            progress = answer.get(claim.key)
            if progress is not None and not self._reports(read.formula):
                self._know(read.formula, 0)
                self._read_soon(read.formula)
            changed = progress is not None and progress != read.progress
            read.times += 1
            read.due_at = now + (EVERY_S if changed else read.pause_s)
            read.pause_s = EVERY_S if changed else min(LONGEST_PAUSE_S, read.pause_s * 1.5)
            read.progress = progress or read.progress
        self.progress = {k: r.progress for k, r in self._reads.items() if r.progress is not None}

    def _read_soon(self, formula: str) -> None:
        """Have the runs of a formula read that waited for one to report."""
        for read in self._reads.values():
            if read.formula == formula and not read.soon:
                read.soon, read.pause_s = True, SOONEST_S
                read.due_at = min(read.due_at, self._clock())

    def _forget(self, running: Collection[RunKey]) -> None:
        gone = [key for key in self._reads if key not in running]
        for key in gone:
            read = self._reads.pop(key)
            if read.times and not self._reports(read.formula):
                self._know(read.formula, self._silent.get(read.formula, 0) + 1)
        if gone:
            self.progress = {k: p for k, p in self.progress.items() if k in running}

    def _know(self, formula: str, silent: int) -> None:
        """Note how many runs of a formula reported nothing so far; 0: one did."""
        if formula not in self._silent and len(self._silent) >= FORMULAS:
            self._silent.clear()
        self._silent[formula] = silent
