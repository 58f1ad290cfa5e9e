"""What every engine promises of runs, whatever executes them; fakes keep it as well.

Subclass ``RunsContract`` and give the fixture ``runs``. Nothing here needs a process: what a run does
is the business of ``tests.contract.scheduler``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import pytest
import tenacity

from dispatcher.model.run import (
    Claim,
    Observation,
    Outcome,
    Phase,
    RunKey,
    RunSpec,
    RunState,
    WrappedGrant,
)
from dispatcher.model.verdicts import Verdict

T = TypeVar("T")


def claim_of(spec: RunSpec, grant: WrappedGrant | None = None, *, engine_id: str = "") -> Claim:
    """The claim a ledger would hold of this run."""
    return Claim(
        key=spec.key,
        phase=Phase.SUBMITTED if engine_id else Phase.CLAIMED,
        commit=spec.commit,
        formula=spec.formula,
        tier=spec.tier,
        timeout_s=spec.timeout_s,
        outcome_key=spec.outcome_key,
        grant=grant.grant if grant else None,
        engine_id=engine_id,
    )


def eventually(ask: Callable[[], T | None], *, seconds: float = 60.0) -> T:
    """The first answer that is not None."""
    for attempt in tenacity.Retrying(
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(0.05),
        retry=tenacity.retry_if_exception_type(AssertionError),
        reraise=True,
    ):
        with attempt:
            answer = ask()
            assert answer is not None, "still waiting"
    return answer


class Runs(Protocol):
    """Runs of one engine, as a test brings them about.

    Attributes:
        scheduler: the engine: ``submit``, ``observe``, ``cancel`` and ``forget`` of a ``Scheduler``.
    """

    scheduler: Any

    def spec(self, *, lasts: bool) -> RunSpec:
        """A run with an id of its own: it ends well by itself, or lasts until it is cancelled."""
        ...

    def mint(self) -> WrappedGrant:
        """A grant that was not used yet."""
        ...

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        """As the loop does; the engine's id."""
        ...

    def until_under_way(self, claim: Claim) -> None:
        """Wait until a lasting run has begun."""
        ...

    def end(self, claim: Claim) -> Observation:
        """The end of a run that ends by itself or was cancelled."""
        ...

    def starts(self, claim: Claim) -> int:
        """How often a run that does not last has begun."""
        ...

    def took(self, grants: Sequence[WrappedGrant]) -> list[bool]:
        """Which of these grants a run took; asking settles it."""
        ...


class RunsContract:
    """The suite. Ids are new in each test, so one engine may serve them all."""

    @pytest.fixture
    def runs(self) -> Runs:
        raise NotImplementedError

    @staticmethod
    def begin(runs: Runs, *, lasts: bool) -> Claim:
        spec, grant = runs.spec(lasts=lasts), runs.mint()
        engine_id = runs.submit(spec, grant)
        assert engine_id
        return claim_of(spec, grant, engine_id=engine_id)

    @staticmethod
    def outcome(runs: Runs, claim: Claim) -> Outcome:
        seen = runs.end(claim)
        assert seen.state is RunState.ENDED
        assert seen.outcome is not None
        return seen.outcome

    def test_a_run_ends_by_itself(self, runs: Runs) -> None:
        claim = self.begin(runs, lasts=False)
        seen = runs.end(claim)
        assert seen.engine_id == claim.engine_id
        assert seen.engine.kind
        assert seen.outcome is not None
        assert seen.outcome.verdict is Verdict.SUCCEEDED, seen.outcome
        assert (seen.outcome.exit_code, seen.outcome.formula_started) == (0, True)

    # Once

    def test_a_second_submit_starts_nothing(self, runs: Runs) -> None:
        spec, grants = runs.spec(lasts=True), [runs.mint() for _ in range(3)]
        engine_id = runs.submit(spec, grants[0])
        claim = claim_of(spec, grants[0], engine_id=engine_id)
        assert runs.submit(spec, grants[1], again=True) == engine_id
        runs.until_under_way(claim)
        runs.scheduler.cancel(claim, reason="enough")
        outcome = self.outcome(runs, claim)
        # Also after its end, for as long as it is not forgotten.
        assert runs.submit(spec, grants[2], again=True) == engine_id
        seen = runs.scheduler.observe([claim])[claim.key]
        assert (seen.state, seen.outcome) == (RunState.ENDED, outcome)
        assert runs.took(grants) == [True, False, False]

    def test_concurrent_submits_start_one(self, runs: Runs) -> None:
        spec, grants = runs.spec(lasts=False), [runs.mint() for _ in range(8)]
        gate = threading.Barrier(len(grants))

        def submit(grant: WrappedGrant) -> str:
            gate.wait()
            return runs.submit(spec, grant, again=True)

        with ThreadPoolExecutor(len(grants)) as pool:
            (engine_id,) = set(pool.map(submit, grants))
        claim = claim_of(spec, engine_id=engine_id)
        assert self.outcome(runs, claim).verdict is Verdict.SUCCEEDED
        assert runs.starts(claim) == 1
        assert sum(runs.took(grants)) == 1

    # Stopping

    def test_cancel_a_running_one(self, runs: Runs) -> None:
        claim = self.begin(runs, lasts=True)
        runs.until_under_way(claim)
        runs.scheduler.cancel(claim, reason="ada asked for it")
        outcome = self.outcome(runs, claim)
        assert outcome.verdict is Verdict.CANCELLED
        assert outcome.exit_code != 0
        assert "ada asked for it" in outcome.error

    def test_cancel_at_once(self, runs: Runs) -> None:
        """Before anything can have come of it: pending, or on its way."""
        claim = self.begin(runs, lasts=True)
        runs.scheduler.cancel(claim, reason="too soon")
        assert self.outcome(runs, claim).verdict is Verdict.CANCELLED

    def test_cancel_after_the_end_changes_nothing(self, runs: Runs) -> None:
        claim = self.begin(runs, lasts=False)
        before = self.outcome(runs, claim)
        runs.scheduler.cancel(claim, reason="too late")
        assert self.outcome(runs, claim) == before

    # Looking

    def test_running_runs_are_seen(self, runs: Runs) -> None:
        claims = [self.begin(runs, lasts=True) for _ in range(3)]
        for claim in claims:
            runs.until_under_way(claim)

        def seen() -> Mapping[RunKey, Observation]:
            observed: Mapping[RunKey, Observation] = runs.scheduler.observe(claims)
            return observed

        eventually(
            lambda: True if {o.state for o in seen().values()} == {RunState.RUNNING} else None
        )
        assert seen().keys() == {c.key for c in claims}
        assert all(o.since > 0 for o in seen().values())
        assert runs.scheduler.observe(claims[:1]).keys() == {claims[0].key}
        for claim in claims:
            runs.scheduler.cancel(claim, reason="enough")
        for claim in claims:
            runs.end(claim)

    def test_unknown_runs(self, runs: Runs) -> None:
        unknown = claim_of(runs.spec(lasts=False))
        assert runs.scheduler.observe([unknown]) == {}
        assert runs.scheduler.observe([]) == {}
        runs.scheduler.cancel(unknown, reason="why not")
        runs.scheduler.forget(unknown)
        assert runs.scheduler.observe([unknown]) == {}

    def test_the_blob_is_part_of_the_key(self, runs: Runs) -> None:
        claim = self.begin(runs, lasts=False)
        runs.end(claim)
        key = RunKey(action_id=claim.key.action_id, blob="f" * 40)
        assert runs.scheduler.observe([replace(claim, key=key, engine_id="")]) == {}

    # Forgetting

    def test_forget(self, runs: Runs) -> None:
        claim = self.begin(runs, lasts=False)
        runs.end(claim)
        runs.scheduler.forget(claim)
        eventually(lambda: None if runs.scheduler.observe([claim]) else True)
        runs.scheduler.forget(claim)
        assert runs.scheduler.observe([claim]) == {}
