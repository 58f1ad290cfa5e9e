"""State of runs that is kept from one observation to the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.engines.log import LazyLogger
from dispatcher.engines.nomad.outcome_file import Report
from dispatcher.model.run import Observation


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A condition of limited duration, such as ``waiting``, and since when it holds."""

    name: str
    since: float  # seconds since the epoch, for people
    at: float  # by the observer's clock


@dataclass(kw_only=True, slots=True)
class TrackedRun:
    """One run.

    Attributes:
        outcome_key: of its claim; "" for a run of an older release.
        alloc: the ID of its allocation; "" before it has one.
        node: the ID of the node of that allocation; "" if unknown.
        report: what a runner reported in the notice of its end, after the ID of its allocation: a run that was
            replaced has more than one; None if none did.
        vouched: the allocation whose runner said that it left its report there, until that was read; "" for none.
        stop_reason: why we stopped it; "" if we did not.
        expired: we stopped it because it was not placed in time.
        condition: the last one observed.
        defect: name of the unexpected error that was logged last.
        ended: its final observation.
    """

    outcome_key: str = ""
    alloc: str = ""
    node: str = ""
    report: tuple[str, Report] | None = None
    vouched: str = ""
    stop_reason: str = ""
    expired: bool = False
    condition: Condition | None = None
    defect: str = ""
    ended: Observation | None = None


class TrackedRuns:
    """The tracked runs by their dispatched jobs. Thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._runs: dict[str, TrackedRun] = {}
        self._lock = threading.Lock()
        self._log = LazyLogger("disinto.nomad")

    def get(self, child: str) -> TrackedRun:
        """The run of this job, tracked from now on."""
        with self._lock:
            return self._runs.setdefault(child, TrackedRun())

    def ended(self, child: str) -> Observation | None:
        """Its last observation, if it has ended."""
        run = self._runs.get(child)
        return run.ended if run is not None else None

    def forget(self, child: str) -> None:
        """Drop the run."""
        with self._lock:
            self._runs.pop(child, None)

    def enter(self, child: str, name: str) -> Condition:
        """Record the run's condition; returns it with the time since when it has held
        continuously."""
        run = self.get(child)
        with self._lock:
            if run.condition is None or run.condition.name != name:
                run.condition = Condition(name=name, since=time.time(), at=self._clock())
            return run.condition

    def defect(self, child: str, error: Exception) -> str:
        """Text for an unexpected error; its traceback is logged once per run."""
        run, name = self.get(child), type(error).__name__
        with self._lock:
            logged, run.defect = run.defect == name, name
        if not logged:
            self._log.error("defect", where=f"observing {child}", exc_info=error)
        return f"unexpected {name}, see the log of 'disinto serve'"
