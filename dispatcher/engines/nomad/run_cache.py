"""Caches the last list of runs, and applies to it what is said of them later.

That an allocation was placed, or began, is entered as it is. That one has ended says where its outcome is to be
read. All else that an event may mean, or a gap in the stream may hide, puts the cache in doubt, and so does a call
that failed: a Nomad that does not answer is not observed from the cache.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from dispatcher.engines.nomad.api import Allocation, AllocationStatus, JobStatus
from dispatcher.engines.nomad.tracked_runs import TrackedRuns
from dispatcher.model.run import Observation

LIST_LASTS_S = 3.0
"""Seconds for which a list is new enough, while events say what became of its runs since."""

ENTERED_WITHIN_S = 3.0
"""Seconds within which the caller asks for a run after it was dispatched."""

REMEMBERED = 1_000
"""Maximum number of jobs remembered of which something was said before they were known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cached:
    """What is known of some runs.

    Attributes:
        ended: by job, those of which it was said that they have ended; said once.
        placed: by job, those of which it was said that they were placed, or began; said once.
        observations: by job, as last observed.
        doubted: jobs that may have changed otherwise.
        recent: whether the last list is new enough.
    """

    ended: Mapping[str, JobStatus]
    placed: Mapping[str, JobStatus]
    observations: Mapping[str, Observation]
    doubted: frozenset[str]
    recent: bool

    def suffices_for(self, children: Collection[str]) -> bool:
        """Whether these need no list."""
        known = all(child in self.observations for child in children)
        return self.recent and known and self.doubted.isdisjoint(children)


class RunCache:
    """The runs of one Nomad by their jobs. Thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, tracked: TrackedRuns, *, clock: Callable[[], float]) -> None:
        self._tracked, self._clock = tracked, clock
        self._lock = threading.Lock()
        self._ended: dict[str, JobStatus] = {}
        self._placed: dict[str, JobStatus] = {}
        self._entered: dict[str, tuple[str, str]] = {}  # allocation and state, as last entered
        self._observations: dict[str, Observation] = {}
        self._dispatched: dict[str, float] = {}  # when, for those that no list was asked for yet
        self._doubts: dict[str, float] = {}  # when: these need a list that has them
        self._listed_at = self._doubted_at = -math.inf
        # Of jobs that were not known yet: where they run; None if anything else was said.
        self._early: dict[str, AllocationStatus | None] = {}

    def knows(self, child: str) -> bool:
        """Whether this run was dispatched or listed here."""
        with self._lock:
            return child in self._observations

    def dispatched(self, child: str, seen: Observation) -> bool:
        """Note that Nomad answered that it dispatched this job. Returns whether more was said of it before."""
        with self._lock:
            self._observations[child] = seen
            self._dispatched[child] = self._clock()
            if child not in self._early:
                return False
            there = self._early.pop(child)
            if there is None:
                self._doubts[child] = self._clock()
            else:
                self._place(child, there)
            return True

    def ended(self, allocation: Allocation) -> bool:
        """Note an allocation that has ended. Returns whether that is news."""
        child = allocation.get("JobID", "")
        with self._lock:
            if not self._open_or_remember(child, None):
                return False
            news = child not in self._ended
            self._ended[child] = JobStatus(ID=child, Status="dead", Allocs=[_status(allocation)])
            return news

    def placed(self, allocation: Allocation) -> bool:
        """Note where a run executes, and whether its task has begun. Returns whether that is news."""
        child, there = allocation.get("JobID", ""), _status(allocation)
        with self._lock:
            return self._open_or_remember(child, there) and self._place(child, there)

    def changed(self, child: str) -> bool:
        """Note that a run changed in another way. Returns whether that is news."""
        with self._lock:
            if not self._open_or_remember(child, None):
                return False
            self._entered.pop(child, None)
            self._doubts[child] = self._clock()
            return True

    def doubt(self, children: Collection[str]) -> None:
        """Note that these may have changed."""
        with self._lock:
            self._doubts |= dict.fromkeys(children, self._clock())

    def doubt_all(self) -> None:
        """Note that any run may have changed."""
        with self._lock:
            self._doubted_at = self._clock()

    def take(self, children: Collection[str]) -> Cached:
        """What is known of these runs."""
        with self._lock:
            in_doubt = self._doubts if self._doubted_at < self._listed_at else children
            return Cached(
                ended=_popped(self._ended, children),
                placed=_popped(self._placed, children),
                observations=_of(self._observations, children),
                doubted=frozenset(child for child in children if child in in_doubt),
                recent=self._clock() - self._listed_at < LIST_LASTS_S,
            )

    def observed(self, observations: Mapping[str, Observation]) -> None:
        """Note what was observed of runs without a list."""
        with self._lock:
            self._observations |= _of(observations, self._observations)

    def listed(
        self,
        asked: Collection[str],
        observations: Mapping[str, Observation],
        *,
        unread: Collection[str],
        began: float,
    ) -> None:
        """Note a list.

        Args:
            asked: the jobs it was asked for.
            unread: those of which it says that they have ended, without an outcome so far.
            began: when it was asked for, by the clock.
        """
        with self._lock:
            # Before the caller knows of a dispatch, events may speak of it: a list without it hides nothing.
            self._dispatched = {
                child: at
                for child, at in self._dispatched.items()
                if child not in asked and at > began - ENTERED_WITHIN_S
            }
            others = {c: seen for c, seen in self._observations.items() if c not in asked}
            self._observations = others | dict(observations)
            left = {c: at for c, at in self._doubts.items() if c not in asked or at >= began}
            # The list says nothing of those it was not asked for, nor of what a gap hid of a dispatch.
            unseen = {c: began for c in others if c not in self._dispatched}
            missed = {c: at for c, at in self._dispatched.items() if at <= self._doubted_at}
            # An outcome that could not be read yet is read for the next list.
            self._doubts = unseen | missed | left | dict.fromkeys(unread, self._clock())
            self._listed_at = began

    def has_more(self, asked: Collection[str]) -> bool:
        """Whether something was said of a run just dispatched for which the caller did not ask yet."""
        with self._lock:
            said = self._ended.keys() | self._placed.keys() | self._doubts.keys()
            now = self._clock()
            newly = {c for c, at in self._dispatched.items() if now - at < ENTERED_WITHIN_S}
            return not said.isdisjoint(newly.difference(asked))

    def forget(self, child: str) -> None:
        """Drop the run."""
        with self._lock:
            self._observations.pop(child, None)
            for noted in (self._ended, self._placed, self._entered, self._dispatched, self._doubts):
                noted.pop(child, None)

    # With the lock

    def _open_or_remember(self, child: str, there: AllocationStatus | None) -> bool:
        """Whether the run is open. If not, what was said of it is kept until it is dispatched."""
        if child in self._observations and self._tracked.ended(child) is None:
            return True
        self._remember(child, there)
        return False

    def _place(self, child: str, there: AllocationStatus) -> bool:
        run, entered = self._tracked.get(child), (there["ID"], there["ClientStatus"])
        run.alloc, run.node = there["ID"], there["NodeID"]
        if self._entered.get(child) == entered:
            return False
        self._entered[child] = entered
        self._placed[child] = JobStatus(ID=child, Status=there["ClientStatus"], Allocs=[there])
        return True

    def _remember(self, child: str, there: AllocationStatus | None) -> None:
        if child in self._observations:
            return  # it has ended
        before = self._early.pop(child, there)
        self._early[child] = None if before is None else there
        if len(self._early) > REMEMBERED:
            del self._early[next(iter(self._early))]


def _status(allocation: Allocation) -> AllocationStatus:
    """What a list would say of this allocation."""
    return AllocationStatus(
        ID=allocation["ID"],
        ClientStatus=allocation.get("ClientStatus", ""),
        NodeID=allocation.get("NodeID", ""),
    )


def _of(
    observations: Mapping[str, Observation], children: Collection[str]
) -> dict[str, Observation]:
    return {child: observations[child] for child in children if child in observations}


def _popped(said: dict[str, JobStatus], children: Collection[str]) -> dict[str, JobStatus]:
    return {child: said.pop(child) for child in children if child in said}
