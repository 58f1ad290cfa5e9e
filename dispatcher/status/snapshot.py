"""Snapshots of a running ``serve``, for the web, the status file and metrics.

They keep the last round's status only, and compute health and overview on request, because there are
more rounds than requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from dispatcher.errors import Dependency
from dispatcher.model.health import DependencyHealth, Health
from dispatcher.model.result import ended_result
from dispatcher.model.run import Phase
from dispatcher.model.verdicts import Verdict
from dispatcher.status.metrics import Metrics
from dispatcher.status.overview import Overview, of_status
from dispatcher.status.tracker import Status, Tracker


class Trackers:
    """Several trackers as one. An error in one is reported to the others, and stops nothing."""

    def __init__(self, *trackers: Tracker) -> None:
        self._trackers = trackers

    def status(self, status: Status) -> None:
        """Pass the status to each."""
        for tracker in self._trackers:
            try:
                tracker.status(status)
            except Exception as error:  # noqa: BLE001 - a tracker must not stop the work
                self._defect(tracker, error)

    def event(self, name: str, /, **facts: object) -> None:
        """Pass the event to each."""
        for tracker in self._trackers:
            try:
                tracker.event(name, **facts)
            except Exception as error:  # noqa: BLE001 - as in ``status``
                self._defect(tracker, error)

    def _defect(self, broken: Tracker, error: Exception) -> None:
        for tracker in self._trackers:
            if tracker is not broken:
                with suppress(Exception):
                    tracker.event("defect", where=f"watch {type(broken).__name__}", error=error)


class Snapshots:
    """A tracker that keeps the last round. ``health`` and ``overview`` may be called from any thread.

    Args:
        dependencies: those in use.
        warnings: see ``Components.warnings``.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        dependencies: Collection[Dependency],
        *,
        warnings: Callable[[], tuple[str, ...]] = tuple,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._warnings = warnings
        self._clock = clock
        self._lock = threading.Lock()
        self._started_at = clock()
        self._up_since = dict.fromkeys(dependencies, 0.0)
        self._last: _Round | None = None
        self._holder = ""
        self._leads = False

    def health(self) -> Health:
        """The health now. A process that does not lead has no rounds, but counts as alive."""
        with self._lock:
            last, leads, holder = self._last, self._leads, self._holder
        if last is None:
            return Health(
                leader=False, beat_at=self._clock(), started_at=self._started_at, holder=holder
            )
        health = _health(last, self._started_at)
        health = replace(health, warnings=(*last.status.warnings, *self._warnings()))
        return (
            health if leads else replace(health, leader=False, beat_at=self._clock(), holder=holder)
        )

    def overview(self) -> Overview:
        """The overview of the last round."""
        with self._lock:
            last = self._last
        overview = _overview(last) if last else Overview(at=self._started_at)
        return replace(overview, warnings=(*overview.warnings, *self._warnings()))

    def last(self, *, within_s: float) -> Status | None:
        """The last round's status; None if this process does not lead, or the round is older."""
        with self._lock:
            last, leads = self._last, self._leads
        if last is None or not leads or self._clock() - last.status.round_at > within_s:
            return None
        return last.status

    def status(self, status: Status) -> None:
        """Keep a round's status."""
        round_ = _Round(status=status, dependencies=self._dependencies(status))
        with self._lock:
            self._last, self._leads = round_, True

    def event(self, name: str, /, **facts: object) -> None:
        """Note changes of the lead; other events are ignored."""
        if name in ("waiting_for_lead", "lead_lost"):
            with self._lock:
                self._leads, self._holder = False, str(facts.get("holder", ""))

    def _dependencies(self, status: Status) -> tuple[DependencyHealth, ...]:
        dependencies = []
        for dependency in self._up_since:
            outage = status.outages.get(dependency)
            if outage is not None:
                self._up_since[dependency] = 0.0
                entry = DependencyHealth(
                    dependency=dependency, up=False, since=outage.since, error=outage.error
                )
            else:
                self._up_since[dependency] = self._up_since[dependency] or status.round_at
                entry = DependencyHealth(
                    dependency=dependency, up=True, since=self._up_since[dependency]
                )
            dependencies.append(entry)
        return tuple(dependencies)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Round:
    """One round. Compared by identity, so that its overview can be cached."""

    status: Status
    dependencies: tuple[DependencyHealth, ...]


@lru_cache(maxsize=1)
def _overview(round_: _Round) -> Overview:
    return of_status(round_.status, round_.dependencies)


def _health(round_: _Round, started_at: float) -> Health:
    status = round_.status
    return Health(
        leader=True,
        beat_at=status.round_at,
        started_at=started_at,
        holder=status.leader,
        head=status.head,
        dependencies=round_.dependencies,
        in_flight=sum(claim.in_flight for claim in status.claims.values()),
        unpublished=sum(claim.phase is Phase.ENDED for claim in status.claims.values()),
        waiting=_overview(round_).waiting,
    )


class Counted:
    """A tracker that updates the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._ended: set[str] = set()

    def status(self, status: Status) -> None:
        """Count the round, and each verdict once."""
        self._metrics.tick(status.round_s)
        ended = {i: c for i, c in status.claims.items() if c.phase is Phase.ENDED and not c.stopped}
        for action_id in ended.keys() - self._ended:
            result = ended_result(ended[action_id])
            if result is not None:
                self._metrics.run_ended(result.verdict, seconds=result.duration_s)
        self._ended = set(ended)

    def event(self, name: str, /, **facts: object) -> None:
        """Count events without a claim: pushes, rejected actions, foreign results and defects."""
        if name == "published":
            self._metrics.pushed(results=int(str(facts["results"])))
        elif name == "foreign_result":
            self._metrics.foreign_result()
        elif name == "rejected":
            self._metrics.run_ended(Verdict(str(facts["verdict"])))
        elif name == "defect":
            self._metrics.defect()
