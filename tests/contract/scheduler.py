"""What every Scheduler keeps to, with real grants of a real OpenBao.

Subclass ``SchedulerContract`` and give the fixture ``scheduler``. Nothing here knows where a run
executes: what a run did is told by its grant, its output and its outcome.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import hvac.exceptions
import pytest

from dispatcher.engines.base import Scheduler, Stream
from dispatcher.model.run import Claim, FormulaKind, Observation, RunSpec, RunState, WrappedGrant
from dispatcher.model.verdicts import Verdict
from tests.contract.progress import ProgressContract
from tests.contract.runs import RunsContract, claim_of, eventually
from tests.servers.bao import Bao
from tests.servers.grants import Minter

SECRET = "c0ntract-secret/value+1"
MANY_LINES = "begin of the key\nmiddle of the key\nend of the key\n"


@dataclass
class RealRuns:
    """Runs of an engine that starts processes: ``tests.contract.runs.Runs``."""

    scheduler: Scheduler
    minter: Minter

    def spec(self, *, lasts: bool) -> RunSpec:
        return self.minter.spec("echo begun; sleep 300" if lasts else "echo ran")

    def mint(self) -> WrappedGrant:
        return self.minter.mint()

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        return self.scheduler.submit(spec, grant, again=again)

    def until_under_way(self, claim: Claim) -> None:
        SchedulerContract.await_output(self.scheduler, claim, b"begun\n")

    def end(self, claim: Claim) -> Observation:
        return SchedulerContract.await_end(self.scheduler, claim)

    def starts(self, claim: Claim) -> int:
        return log(self.scheduler, claim, Stream.STDOUT).count(b"ran\n")

    def took(self, grants: Sequence[WrappedGrant]) -> list[bool]:
        return [used(self.minter, grant) for grant in grants]


class SchedulerContract(RunsContract, ProgressContract):
    """The suite, and that of ``RunsContract``. Ids are new in each test, so one engine may serve all."""

    @pytest.fixture
    def scheduler(self) -> Iterator[Scheduler]:
        raise NotImplementedError

    @pytest.fixture
    def minter(self, vault: Bao) -> Minter:
        return Minter(bao=vault).prepare()

    @pytest.fixture
    def runs(self, scheduler: Scheduler, minter: Minter) -> RealRuns:
        return RealRuns(scheduler, minter)

    # What tests are made of

    def submit(self, scheduler: Scheduler, spec: RunSpec, grant: WrappedGrant) -> Claim:
        engine_id = scheduler.submit(spec, grant)
        assert engine_id
        return claim_of(spec, grant, engine_id=engine_id)

    def start(self, scheduler: Scheduler, minter: Minter, formula: str, **more: Any) -> Claim:
        spec = minter.spec(formula, **more)
        return self.submit(scheduler, spec, minter.mint(*spec.secrets))

    @staticmethod
    def await_end(scheduler: Scheduler, claim: Claim) -> Observation:
        def ended() -> Observation | None:
            seen = scheduler.observe([claim])[claim.key]
            return seen if seen.state is RunState.ENDED else None

        seen = eventually(ended)
        assert seen.outcome is not None
        return seen

    @staticmethod
    def await_output(scheduler: Scheduler, claim: Claim, text: bytes) -> None:
        eventually(lambda: True if text in log(scheduler, claim, Stream.STDOUT) else None)

    def ended(self, scheduler: Scheduler, claim: Claim) -> Any:
        return self.await_end(scheduler, claim).outcome

    # How runs end

    def test_a_run_succeeds(self, scheduler: Scheduler, minter: Minter) -> None:
        minter.put("TOKEN", SECRET)
        claim = self.start(
            scheduler,
            minter,
            f'test ${{#TOKEN}} = {len(SECRET)} && test "$DISINTO_CONTEXT" = hello && echo done',
            secrets=("TOKEN",),
            context="hello",
        )
        seen = self.await_end(scheduler, claim)
        outcome = seen.outcome
        assert outcome
        assert outcome.verdict is Verdict.SUCCEEDED, outcome
        assert (outcome.exit_code, outcome.formula_started) == (0, True)
        assert outcome.finished_at >= outcome.started_at > 0
        assert outcome.logs == "done\n"
        assert seen.engine_id == claim.engine_id
        assert seen.engine.kind
        assert seen.engine.node

    def test_its_own_exit_code(self, scheduler: Scheduler, minter: Minter) -> None:
        outcome = self.ended(scheduler, self.start(scheduler, minter, "exit 42"))
        assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 42)
        assert outcome.signal is None

    def test_a_signal(self, scheduler: Scheduler, minter: Minter) -> None:
        outcome = self.ended(scheduler, self.start(scheduler, minter, "kill -KILL $$"))
        assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 137)
        assert outcome.signal == 9

    def test_a_timeout(self, scheduler: Scheduler, minter: Minter) -> None:
        claim = self.start(scheduler, minter, "echo begun; sleep 300", timeout_s=1)
        outcome = self.ended(scheduler, claim)
        assert (outcome.verdict, outcome.exit_code) == (Verdict.TIMED_OUT, 124)
        assert outcome.logs == "begun\n"

    def test_an_agent(self, scheduler: Scheduler, minter: Minter) -> None:
        claim = self.start(
            scheduler,
            minter,
            'prompt = "p"\n',
            kind=FormulaKind.AGENT,
            agent_argv=("cat",),
            context="the task",
        )
        outcome = self.ended(scheduler, claim)
        assert outcome.verdict is Verdict.SUCCEEDED
        assert outcome.logs.startswith('prompt = "p"\n')
        assert outcome.logs.endswith("the task")

    def test_outputs(self, scheduler: Scheduler, minter: Minter) -> None:
        minter.put("TOKEN", SECRET)
        claim = self.start(
            scheduler,
            minter,
            'printf \'{"address": "192.0.2.7", "note": "%s"}\' "$TOKEN" > "$DISINTO_OUTPUTS"',
            secrets=("TOKEN",),
        )
        outcome = self.ended(scheduler, claim)
        assert outcome.outputs == {"address": "192.0.2.7", "note": "[redacted:TOKEN]"}

    # The fence

    def stopped(self, scheduler: Scheduler, claim: Claim, *words: str) -> None:
        outcome = self.ended(scheduler, claim)
        assert outcome.verdict is Verdict.ERROR
        assert outcome.exit_code != 0
        assert not outcome.formula_started
        assert outcome.logs == ""
        for word in words:
            assert word in outcome.error
        assert b"formula ran" not in log(scheduler, claim, Stream.STDOUT)

    def test_a_secret_that_is_not_there(self, scheduler: Scheduler, minter: Minter) -> None:
        minter.allow("ABSENT")
        claim = self.start(scheduler, minter, "echo formula ran", secrets=("ABSENT",))
        self.stopped(scheduler, claim, "ABSENT", "missing")

    def test_a_used_wrapping_token(self, scheduler: Scheduler, minter: Minter) -> None:
        grant = minter.mint()
        minter.unwrap(grant)
        claim = self.submit(scheduler, minter.spec("echo formula ran"), grant)
        self.stopped(scheduler, claim, "possible interception")

    def test_a_revoked_grant(self, scheduler: Scheduler, minter: Minter) -> None:
        grant = minter.mint()
        minter.bao.client().auth.token.revoke_accessor(grant.grant.accessor)
        self.stopped(scheduler, self.submit(scheduler, minter.spec("echo formula ran"), grant))

    def test_another_creation_path(self, scheduler: Scheduler, minter: Minter) -> None:
        grant = replace(minter.mint(), creation_path="auth/token/create/another")
        claim = self.submit(scheduler, minter.spec("echo formula ran"), grant)
        self.stopped(scheduler, claim, "auth/token/create/another")
        assert not used(minter, grant)

    def test_another_formula(self, scheduler: Scheduler, minter: Minter) -> None:
        spec = minter.spec("echo formula ran")
        grant = minter.mint()
        changed = replace(spec, formula=replace(spec.formula, sha256="0" * 64))
        self.stopped(scheduler, self.submit(scheduler, changed, grant), "hash differs")
        assert not used(minter, grant)

    # Logs

    def test_both_streams_redacted(self, scheduler: Scheduler, minter: Minter) -> None:
        minter.put("TOKEN", SECRET)
        minter.put("KEY", MANY_LINES)
        formula = (
            'echo "out $TOKEN"; echo "err $TOKEN" >&2; printf %s "$TOKEN" | base64; echo "$KEY"\n'
            'printf "${TOKEN:0:9}"; sleep 0.2; echo "${TOKEN:9}"; exit 1'
        )
        claim = self.start(scheduler, minter, formula, secrets=("TOKEN", "KEY"))
        outcome = self.ended(scheduler, claim)
        out = log(scheduler, claim, Stream.STDOUT)
        err = log(scheduler, claim, Stream.STDERR)
        assert (
            out == b"out [redacted:TOKEN]\n[redacted:TOKEN]\n[redacted:KEY]\n\n[redacted:TOKEN]\n"
        )
        assert err == b"err [redacted:TOKEN]\n"
        for text in (out.decode(), err.decode(), repr(outcome)):
            assert SECRET not in text
            assert "middle of the key" not in text

    def test_follow_until_the_end(self, scheduler: Scheduler, minter: Minter) -> None:
        claim = self.start(
            scheduler, minter, "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done; echo e >&2"
        )
        chunks = list(scheduler.logs(claim, follow=True))
        out = b"".join(c.data for c in chunks if c.stream is Stream.STDOUT)
        assert out == b"".join(b"line %d\n" % i for i in range(1, 6))
        assert b"".join(c.data for c in chunks if c.stream is Stream.STDERR) == b"e\n"
        assert self.ended(scheduler, claim).verdict is Verdict.SUCCEEDED
        position = dict.fromkeys(Stream, 0)
        for chunk in chunks:
            position[chunk.stream] += len(chunk.data)
            assert chunk.offset == position[chunk.stream]

    def test_go_on_from_an_offset(self, scheduler: Scheduler, minter: Minter) -> None:
        claim = self.start(scheduler, minter, "echo 0123456789; echo abcdef >&2")
        self.await_end(scheduler, claim)
        offsets = {Stream.STDOUT: 4, Stream.STDERR: 7}
        chunks = list(scheduler.logs(claim, offsets=offsets))
        assert b"".join(c.data for c in chunks) == b"456789\n"
        assert chunks[-1].offset == 11
        followed = scheduler.logs(claim, follow=True, offsets=offsets)
        assert b"".join(c.data for c in followed) == b"456789\n"

    def test_a_follower_may_leave(self, scheduler: Scheduler, minter: Minter) -> None:
        claim = self.start(scheduler, minter, "echo begun; sleep 300")
        with contextlib.closing(scheduler.logs(claim, follow=True)) as chunks:  # type: ignore[type-var]
            assert next(chunks).data == b"begun\n"
        scheduler.cancel(claim, reason="enough")
        self.await_end(scheduler, claim)

    def test_what_was_written_since(self, scheduler: Scheduler, minter: Minter) -> None:
        formula = (
            "echo early; echo early >&2; sleep 2.2; date +%s.%N; printf late; sleep 1.2; echo r; "
            "sleep 300"
        )
        claim = self.start(scheduler, minter, formula)
        self.await_output(scheduler, claim, b"later\n")
        whole = log(scheduler, claim, Stream.STDOUT)
        assert scheduler.offsets_since(claim, 0.0) == dict.fromkeys(Stream, 0)
        late = float(whole.splitlines()[1])
        offsets = scheduler.offsets_since(claim, late)
        since = b"".join(chunk.data for chunk in scheduler.logs(claim, offsets=offsets))
        assert since == whole.removeprefix(b"early\n")
        assert offsets[Stream.STDERR] == len(b"early\n")
        # A line that goes on later is shown whole.
        offsets = scheduler.offsets_since(claim, late + 1.1)
        rest = b"".join(chunk.data for chunk in scheduler.logs(claim, offsets=offsets))
        assert rest == b"later\n"
        future = scheduler.offsets_since(claim, late + 3600)
        assert list(scheduler.logs(claim, offsets=future)) == []
        scheduler.cancel(claim, reason="enough")
        self.await_end(scheduler, claim)

    def test_a_run_without_a_log(self, scheduler: Scheduler, minter: Minter) -> None:
        spec = minter.spec("true")
        assert list(scheduler.logs(claim_of(spec))) == []
        assert scheduler.offsets_since(claim_of(spec, engine_id="unknown"), 0.0) == {}


def log(scheduler: Scheduler, claim: Claim, stream: Stream) -> bytes:
    """All of a stream so far."""
    return b"".join(c.data for c in scheduler.logs(claim) if c.stream is stream)


def used(minter: Minter, grant: WrappedGrant) -> bool:
    """True if the wrapping token was unwrapped; asking settles it."""
    try:
        minter.bao.client().auth.token.lookup_accessor(grant.grant.wrapping_accessor)
    except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden, hvac.exceptions.InvalidPath):
        return True
    return False
