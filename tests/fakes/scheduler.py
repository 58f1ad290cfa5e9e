"""A scheduler in memory, for tests of the loop and for benches with many runs in flight.

It keeps the promises of ``dispatcher.engines.base``: idempotent by key, unknown runs absent. It
leaves out what a real engine does with a run: no process, no log, no unwrapping of the grant, no
limits; a run ends when the test says so, or at once with ``ends_at_once``. A cancelled run ends at
once, or with ``cancels_slowly`` when the test says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dispatcher.engines.base import LogChunk, Stream
from dispatcher.model.progress import Progress
from dispatcher.model.run import (
    Claim,
    Observation,
    Outcome,
    Placement,
    RunKey,
    RunSpec,
    RunState,
    WrappedGrant,
)
from dispatcher.model.verdicts import Verdict

SUCCEEDED = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True)
CANCELLED = Outcome(verdict=Verdict.CANCELLED, exit_code=143, formula_started=True)


@dataclass
class FakeScheduler:
    """See the module. ``submitted`` holds every spec that started, in order, and ``granted`` its grant."""

    wake: Callable[[], None] = lambda: None
    ends_at_once: bool = False
    cancels_slowly: bool = False
    submitted: list[RunSpec] = field(default_factory=list)
    granted: list[WrappedGrant] = field(default_factory=list)
    cancelled: list[RunKey] = field(default_factory=list)
    reported: dict[RunKey, Progress] = field(default_factory=dict)
    observe_calls: int = 0
    fails_with: Exception | None = None
    _runs: dict[RunKey, Observation] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(
        self,
        spec: RunSpec,
        grant: WrappedGrant,
        *,
        again: bool = False,
    ) -> str:
        self._answer()
        with self._lock:
            if spec.key not in self._runs:
                self.submitted.append(spec)
                self.granted.append(grant)
                self._runs[spec.key] = self._seen(spec.key, RunState.RUNNING, None)
        if self.ends_at_once:
            self.end(spec.key)
        return spec.key.token

    def observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        self._answer()
        self.observe_calls += 1
        with self._lock:
            return {c.key: self._runs[c.key] for c in claims if c.key in self._runs}

    def logs(
        self,
        claim: Claim,
        *,
        follow: bool = False,
        offsets: Mapping[Stream, int] | None = None,
    ) -> Iterator[LogChunk]:
        return iter(())

    def offsets_since(self, claim: Claim, since: float) -> Mapping[Stream, int]:
        return {}

    def told(self, notice: bytes) -> bool:
        return False

    def progress(self, claims: Collection[Claim]) -> Mapping[RunKey, Progress]:
        return {c.key: self.reported[c.key] for c in claims if c.key in self.reported}

    def cancel(self, claim: Claim, *, reason: str) -> None:
        self._answer()
        with self._lock:
            known = self._runs.get(claim.key)
        self.cancelled.append(claim.key)
        if known is not None and known.state is not RunState.ENDED and not self.cancels_slowly:
            self.end(claim.key, replace(CANCELLED, error=reason))

    def kept(self) -> Collection[RunKey]:
        with self._lock:
            return list(self._runs)

    def forget(self, claim: Claim) -> None:
        self._answer()
        with self._lock:
            self._runs.pop(claim.key, None)

    # -- for tests ----------------------------------------------------------------------------

    def end(self, key: RunKey, outcome: Outcome = SUCCEEDED) -> None:
        """The run ends."""
        with self._lock:
            self._runs[key] = self._seen(key, RunState.ENDED, outcome)
        self.wake()

    def lose(self, key: RunKey) -> None:
        """The engine forgets the run without a word."""
        with self._lock:
            self._runs.pop(key, None)
        self.wake()

    def running(self) -> list[RunKey]:
        with self._lock:
            return [k for k, seen in self._runs.items() if seen.state is RunState.RUNNING]

    def _answer(self) -> None:
        if self.fails_with is not None:
            raise self.fails_with

    @staticmethod
    def _seen(key: RunKey, state: RunState, outcome: Outcome | None) -> Observation:
        engine = Placement(kind="local", job=key.token)
        return Observation(
            state=state, engine_id=key.token, engine=engine, outcome=outcome, since=time.time()
        )
