"""Local runs whose runner is killed, hangs or cannot begin: each ends, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.engines.local import scheduler as local_module
from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.engines.local.spool import Spool
from dispatcher.errors import Unavailable
from dispatcher.model.run import RunState
from dispatcher.model.verdicts import Verdict
from tests.contract.scheduler import claim_of, eventually
from tests.support.local_stage import Bench, bench, nothing_left
from tests.support.processes import alive

__all__ = ["bench", "nothing_left"]

pytestmark = pytest.mark.needs("bao")


HOLDS_ON = (
    "trap '' TERM; (setsid bash -c 'trap \"\" TERM; while :; do sleep 0.1; done' &)\n"
    "echo begun; while :; do sleep 0.1; done"
)


def test_a_killed_runner_is_lost_and_leaves_nothing(bench: Bench) -> None:
    claim = bench.begin(HOLDS_ON)
    bench.output(claim, b"begun\n")
    os.kill(bench.runner(claim), signal.SIGKILL)
    outcome = bench.end(claim).outcome
    assert outcome
    assert (outcome.verdict, outcome.exit_code) == (Verdict.LOST, 71)
    assert outcome.formula_started
    assert outcome.logs == "begun\n"
    assert marked(bench.spool(claim)) == []
    assert not bench.spool(claim).private.exists()
    assert bench.end(claim, LocalScheduler(bench.settings)).outcome == outcome
    # It is never started again.
    spec = replace(bench.minter.spec("echo again"), key=claim.key)
    grant = bench.minter.mint()
    assert bench.submit(spec, grant).engine_id == claim.engine_id
    seen = bench.scheduler.observe([claim])[claim.key]
    assert (seen.state, seen.outcome) == (RunState.ENDED, outcome)
    assert bench.minter.unwrap(grant)


def test_killed_while_nobody_looked(bench: Bench) -> None:
    """What a restarted dispatcher finds after its machine's memory ran out, for example."""
    claim = bench.begin(HOLDS_ON)
    bench.output(claim, b"begun\n")
    fresh = LocalScheduler(bench.settings)
    pid = bench.runner(claim)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: None if alive(pid) else True)
    seen = fresh.observe([claim])[claim.key]
    assert seen.outcome
    assert seen.outcome.verdict is Verdict.LOST
    assert marked(bench.spool(claim)) == []


def marked(spool: Spool) -> list[int]:
    """Processes with the run's folder in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            text = (entry / "environ").read_bytes()
            if str(spool.home).encode() in text and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def test_a_runner_that_hangs_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "SLACK_S", 0.0)
    claim = bench.begin(HOLDS_ON, timeout_s=1)
    bench.output(claim, b"begun\n")
    os.kill(bench.runner(claim), signal.SIGSTOP)
    outcome = bench.end(claim).outcome
    assert outcome
    assert (outcome.verdict, outcome.exit_code) == (Verdict.TIMED_OUT, 124)
    assert "did not end at its timeout" in outcome.error
    assert marked(bench.spool(claim)) == []


def test_a_start_that_came_to_nothing_is_made_good(bench: Bench) -> None:
    """The dispatcher died between making the directory and the runner's first step."""
    spec = bench.minter.spec("echo ran")
    spool = Spool(bench.settings.state_dir / "runs", spec.key, outcome_key=spec.outcome_key)
    spool.path.parent.mkdir(parents=True)
    lock = spool.hold()
    assert lock is not None
    spool.prepare()
    claim = claim_of(spec)
    assert bench.scheduler.observe([claim])[claim.key].state is RunState.RUNNING
    os.close(lock)
    assert bench.scheduler.observe([claim]) == {}
    claim = bench.submit(spec, bench.minter.mint())
    outcome = bench.end(claim).outcome
    assert outcome
    assert outcome.logs == "ran\n"


def test_a_runner_that_cannot_begin_is_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation is told, not tried again forever."""
    broken = (sys.executable, "-c", "raise SystemExit('no such module')")
    monkeypatch.setattr("dispatcher.engines.local.launch.command", lambda: broken)
    outcome = bench.end(bench.begin("true")).outcome
    assert outcome
    assert outcome.verdict is Verdict.ERROR
    assert not outcome.formula_started
    assert "no such module" in outcome.error


def test_no_process_can_be_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.engines.local.launch.command", lambda: ("/nowhere/python",))
    with pytest.raises(Unavailable, match="no runner could be started"):
        bench.begin("true")
