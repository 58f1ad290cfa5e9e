"""What is known of runs without asking Nomad: the last list, and what was said since.

That an allocation was placed, or began, is entered as it is. That one has ended says where its outcome is to be
read. All else that an event may mean, or a gap in the stream may hide, puts in doubt what is known; and so does a
call that failed: a Nomad that does not answer is not observed from memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from dispatcher.engines.nomad.api import Allocation, AllocationStatus, JobStatus
from dispatcher.engines.nomad.tracked_runs import TrackedRuns
from dispatcher.model.run import Observation

LIST_LASTS_S = 3.0
"""Seconds for which a list is new enough, while events say what became of its runs since."""

REMEMBERED = 1_000
"""Maximum number of jobs remembered of which something was said before they were known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What an observation can go by.

    Attributes:
        ended: by job, those of which it was said that they have ended.
        placed: by job, those of which it was said that they were placed, or began.
        known: by job, as last observed.
        sure: whether nothing else can have happened to them since.
    """

    ended: Mapping[str, JobStatus]
    placed: Mapping[str, JobStatus]
    known: Mapping[str, Observation]
    sure: bool


class Heard:
    """Collects what is said of runs until it is observed. Thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, tracked: TrackedRuns, *, clock: Callable[[], float]) -> None:
        self._tracked, self._clock = tracked, clock
        self._lock = threading.Lock()
        self._ended: dict[str, JobStatus] = {}
        self._placed: dict[str, JobStatus] = {}
        self._known: dict[str, Observation] = {}
        self._dispatched: dict[str, float] = {}  # when, for those that no list was asked for yet
        self._doubts: dict[str, float] = {}  # when: these need a list that has them
        self._listed_at = self._doubted_at = clock() - LIST_LASTS_S
        # Of jobs that were not known yet: where they run; None if anything else was said.
        self._early: dict[str, Allocation | None] = {}

    def knows(self, child: str) -> bool:
        """Whether this run was dispatched or listed here."""
        with self._lock:
            return child in self._known

    def dispatched(self, child: str, seen: Observation) -> bool:
        """Note that Nomad answered that it dispatched this job. Returns whether more was said of it before."""
        with self._lock:
            self._known[child] = seen
            self._dispatched[child] = self._clock()
            if child not in self._early:
                return False
            placed = self._early.pop(child)
            if placed is None:
                self._doubts[child] = self._clock()
        if placed is not None:
            self.placed(placed)
        return True

    def ended(self, allocation: Allocation) -> bool:
        """Note an allocation that has ended. Returns whether that is news."""
        child = allocation.get("JobID", "")
        with self._lock:
            if not self._is_open(child):
                self._remember(child, None)
                return False
            news = child not in self._ended
            self._ended[child] = _status(allocation, "dead")
            return news

    def placed(self, allocation: Allocation) -> bool:
        """Note where a run executes, and whether its task has begun. Returns whether that is news."""
        child, state = allocation.get("JobID", ""), allocation.get("ClientStatus", "")
        with self._lock:
            if not self._is_open(child):
                self._remember(child, allocation)
                return False
            run = self._tracked.get(child)
            run.alloc, run.node = allocation["ID"], allocation.get("NodeID", "")
            if run.placed == (run.alloc, state):
                return False
            run.placed = (run.alloc, state)
            self._placed[child] = _status(allocation, state)
            return True

    def changed(self, child: str) -> bool:
        """Note that a run changed in another way. Returns whether that is news."""
        with self._lock:
            if not self._is_open(child):
                self._remember(child, None)
                return False
            self._tracked.get(child).placed = ("", "")
            self._doubts[child] = self._clock()
            return True

    def doubt(self, children: Collection[str] | None = None) -> None:
        """Note that these may have changed; None for any."""
        with self._lock:
            if children is None:
                self._doubted_at = self._clock()
            else:
                self._doubts |= dict.fromkeys(children, self._clock())

    def taken(self, children: Collection[str]) -> News:
        """What there is to know of these, which is said once."""
        with self._lock:
            return News(
                ended=_popped(self._ended, children),
                placed=_popped(self._placed, children),
                known={child: self._known[child] for child in children if child in self._known},
                sure=self._doubted_at < self._listed_at
                and self._clock() - self._listed_at < LIST_LASTS_S
                and self._doubts.keys().isdisjoint(children)
                and all(child in self._known for child in children),
            )

    def moved(self, observations: Mapping[str, Observation]) -> None:
        """Note what was observed of runs without a list."""
        with self._lock:
            self._known |= {c: seen for c, seen in observations.items() if c in self._known}

    def listed(
        self,
        asked: Collection[str],
        listed: Mapping[str, Observation],
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
            # Before the loop knows of a dispatch, events may speak of it: a list without it hides nothing.
            self._dispatched = {
                child: at
                for child, at in self._dispatched.items()
                if child not in asked and at > began - LIST_LASTS_S
            }
            self._known = {child: self._known[child] for child in self._dispatched} | dict(listed)
            left = {c: at for c, at in self._doubts.items() if c not in asked or at >= began}
            # An outcome that could not be read yet is read for the next list.
            self._doubts = left | dict.fromkeys(unread, self._clock())
            self._listed_at = began

    def waits(self, asked: Collection[str]) -> bool:
        """Whether something was said of a run just dispatched for which an observation did not ask yet."""
        with self._lock:
            said = self._ended.keys() | self._placed.keys() | self._doubts.keys()
            newly = {c for c, at in self._dispatched.items() if self._clock() - at < LIST_LASTS_S}
            return not said.isdisjoint(newly.difference(asked))

    def forget(self, child: str) -> None:
        """Drop the run."""
        with self._lock:
            for noted in (self._ended, self._placed, self._known, self._dispatched, self._doubts):
                noted.pop(child, None)

    def _is_open(self, child: str) -> bool:
        return child in self._known and self._tracked.ended(child) is None

    def _remember(self, child: str, placed: Allocation | None) -> None:
        if child in self._known:
            return  # it has ended
        while len(self._early) >= REMEMBERED:
            del self._early[next(iter(self._early))]
        known_place = placed is not None and self._early.get(child, placed) is not None
        self._early[child] = placed if known_place else None


def _status(allocation: Allocation, job_status: str) -> JobStatus:
    """What a list would say of a run with this allocation."""
    there = AllocationStatus(
        ID=allocation["ID"],
        ClientStatus=allocation.get("ClientStatus", ""),
        NodeID=allocation.get("NodeID", ""),
    )
    return JobStatus(ID=allocation.get("JobID", ""), Status=job_status, Allocs=[there])


def _popped(said: dict[str, JobStatus], children: Collection[str]) -> dict[str, JobStatus]:
    return {child: said.pop(child) for child in children if child in said}
