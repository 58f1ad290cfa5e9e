"""What serve tells of itself: overview, status file, pulse, nudge file and journal."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.cli.journal import Journal
from dispatcher.decide.placing import Placing
from dispatcher.decide.steps import Plan, Wait
from dispatcher.decide.world import Candidate
from dispatcher.errors import Dependency
from dispatcher.loop.nudge import LISTEN_EVERY_S, NudgeFile, nudge
from dispatcher.model.action import Action, parse_action
from dispatcher.model.health import DependencyHealth, Outage, WaitingFor
from dispatcher.model.job_class import JobVariant
from dispatcher.model.run import (
    Claim,
    FormulaKind,
    FormulaRef,
    Observation,
    Phase,
    Placement,
    RunKey,
    RunState,
    Tier,
)
from dispatcher.status import status_file
from dispatcher.status.action_record import of_open
from dispatcher.status.overview import LISTED, OpenAction, Overview, State, of_status
from dispatcher.status.snapshot import Snapshots
from dispatcher.status.tracker import Status

FORMULA = FormulaRef(name="hello", kind=FormulaKind.SHELL, blob="0" * 40, sha256="0" * 64)


def claim(action_id: str, phase: Phase, *, result: str = "") -> Claim:
    return Claim(
        key=RunKey(action_id=action_id, blob="0" * 40),
        phase=phase,
        commit="c" * 40,
        formula=FORMULA,
        tier=Tier.LOW,
        engine_id=f"run-of-{action_id}",
        claimed_at=100.0,
        result=result,
    )


def wait(action_id: str, kind: WaitingFor, reason: str, run: RunState | None = None) -> Wait:
    return Wait(action_id=action_id, waiting_for=kind, reason=reason, run=run)


def status(
    *claims: Claim, waits: tuple[Wait, ...] = (), outages: dict[Dependency, Outage] | None = None
) -> Status:
    return Status(
        leader="host:1",
        head="c" * 40,
        plan=Plan(steps=(), waits=waits),
        claims={c.key.action_id: c for c in claims},
        outages=outages or {},
        round_at=time.time(),
        round_s=0.01,
        open_actions=len(claims),
    )


def test_states_come_from_claims_and_waits() -> None:
    overview = of_status(
        status(
            claim("starts", Phase.CLAIMED),
            claim("pends", Phase.SUBMITTED),
            claim("runs", Phase.SUBMITTED),
            claim("ended", Phase.ENDED),
            claim("spent", Phase.TOMBSTONE),
            waits=(
                wait("pends", WaitingFor.ENGINE, "waiting for placement", RunState.PENDING),
                wait("runs", WaitingFor.ENGINE, "", RunState.RUNNING),
                wait("held", WaitingFor.APPROVAL, "no approval yet"),
            ),
        ),
        (),
    )
    assert {a.id: (a.state, a.reason) for a in overview.open} == {
        "starts": (State.STARTING, ""),
        "pends": (State.PENDING, "waiting for placement"),
        "runs": (State.RUNNING, ""),
        "ended": (State.ENDED, ""),
        "held": (State.WAITING, "no approval yet"),
    }
    assert overview.waiting == {WaitingFor.APPROVAL: 1}


def test_an_overview_survives_json() -> None:
    overview = Overview(
        at=5.0,
        head="c" * 40,
        leader="host:1",
        open=(
            OpenAction(
                id="a",
                state=State.WAITING,
                reason="r",
                waiting_for=WaitingFor.PLACE,
                approved_by=("ada",),
            ),
            OpenAction(id="b", state=State.RUNNING, since=3.0),
        ),
        waiting={WaitingFor.PLACE: 1},
        dependencies=(
            DependencyHealth(dependency=Dependency.VAULT, up=False, since=2.0, error="down"),
        ),
        warnings=("a job was changed",),
        open_actions=2,
    )
    assert Overview.from_json(json.loads(json.dumps(overview.to_json()))) == overview


def test_many_that_wait_are_counted_and_not_all_listed() -> None:
    waits = tuple(wait(f"a{n}", WaitingFor.PLACE, "full") for n in range(LISTED + 500))
    overview = of_status(status(waits=waits), ())
    assert len(overview.open) == LISTED
    assert overview.waiting == {WaitingFor.PLACE: LISTED + 500}


def test_the_status_file_is_written_whole_and_marked_at_the_end(tmp_path: Path) -> None:
    overview = Overview(at=time.time(), leader="me")
    with status_file.StatusFile(tmp_path, lambda: overview) as file:
        file.status(status())
        deadline = time.monotonic() + 20
        while (seen := status_file.read(tmp_path)) is None and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert seen is not None
        assert seen.fresh
        assert seen.overview == overview
    seen = status_file.read(tmp_path)
    assert seen is not None
    assert not seen.fresh
    assert [path.name for path in tmp_path.iterdir()] == [status_file.NAME]


def test_a_file_of_a_dead_or_stuck_process_is_not_fresh(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    content = {
        "version": status_file.VERSION,
        "host": __import__("socket").gethostname(),
        "pid": process.pid,
        "ended": False,
        "overview": Overview(at=time.time()).to_json(),
    }
    path = tmp_path / status_file.NAME
    path.write_text(json.dumps(content))
    seen = status_file.read(tmp_path)
    assert seen is not None
    assert not seen.fresh
    path.write_text(json.dumps({**content, "host": "elsewhere"}))
    seen = status_file.read(tmp_path)
    assert seen is not None
    assert seen.fresh
    stale = status_file.read(tmp_path, now=time.time() + status_file.FRESH_S + 1)
    assert stale is not None
    assert not stale.fresh


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 99}', '{"version": 1}', "null"])
def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / status_file.NAME).write_text(text)
    assert status_file.read(tmp_path) is None


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    with status_file.StatusFile(tmp_path / "nosuch", lambda: Overview(at=1.0)) as file:
        file.status(status())


def test_the_pulse_tells_since_when_something_is_down() -> None:
    pulse = Snapshots([Dependency.VAULT, Dependency.REMOTE])
    pulse.status(status())
    assert {d.dependency: d.up for d in pulse.health().dependencies} == {
        Dependency.VAULT: True,
        Dependency.REMOTE: True,
    }
    outage = Outage(since=50.0, error="sealed", tries=1, again_at=0.0)
    pulse.status(status(outages={Dependency.VAULT: outage}))
    (down,) = [d for d in pulse.health().dependencies if not d.up]
    assert (down.dependency, down.since, down.error) == (Dependency.VAULT, 50.0, "sealed")
    assert not pulse.health().ready(time.time())
    assert pulse.health().alive(time.time())


def test_a_warning_is_told_and_makes_nothing_unready() -> None:
    said: list[str] = []
    pulse = Snapshots([Dependency.SCHEDULER], warnings=lambda: tuple(said))
    pulse.status(status())
    assert pulse.health().warnings == pulse.overview().warnings == ()
    said.append("a job was changed")
    assert pulse.health().warnings == pulse.overview().warnings == ("a job was changed",)
    assert pulse.health().ready(time.time())


def test_an_action_whose_step_is_tried_again_is_listed_although_the_round_says_nothing() -> None:
    told = replace(
        status(
            claim("starts", Phase.CLAIMED),
            claim("runs", Phase.SUBMITTED),
            waits=(wait("runs", WaitingFor.ENGINE, "", RunState.RUNNING),),
        ),
        failures={"starts": "no job", "launching": "no policy", "runs": "an old one"},
    )
    overview = of_status(told, ())
    assert {a.id: (a.state, a.reason) for a in overview.open} == {
        "starts": (State.STARTING, "a step failed and will be retried: no job"),
        "runs": (State.RUNNING, ""),
        "launching": (State.WAITING, "a step failed and will be retried: no policy"),
    }
    assert overview.waiting == {WaitingFor.DEPENDENCY: 1}


def test_one_that_waits_for_the_lead_is_alive_and_not_ready() -> None:
    pulse = Snapshots([])
    pulse.event("waiting_for_lead", holder="other:1")
    health = pulse.health()
    assert (health.leader, health.holder) == (False, "other:1")
    assert health.alive(time.time() + 1)
    assert not health.ready(time.time())
    pulse.status(status())
    assert pulse.health().leader
    pulse.event("lead_lost", name="me")
    assert not pulse.health().leader


def test_each_nudge_is_noticed_once(tmp_path: Path) -> None:
    heard = threading.Semaphore(0)
    nudge(tmp_path)
    with NudgeFile(tmp_path, heard.release):
        assert not heard.acquire(timeout=3 * LISTEN_EVERY_S)
        nudge(tmp_path)
        assert heard.acquire(timeout=20)
        assert not heard.acquire(timeout=3 * LISTEN_EVERY_S)
    nudge(tmp_path / "nosuch")


def test_the_journal_is_json_in_a_pipe_and_without_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    journal = Journal(level="info")
    result = json.dumps({"verdict": "failed", "exit_code": 3, "error": "bad \x1b[2J"})
    journal.event("down", dependency=Dependency.VAULT, error=ValueError("two\nlines\x1b]0;x\x07"))
    journal.event("judged", action="quiet")
    journal.event("waiting_for_lead", holder="other")
    journal.event("waiting_for_lead", holder="other")
    for _ in range(2):
        journal.status(status(claim("a", Phase.SUBMITTED), claim("b", Phase.ENDED, result=result)))
    lines = [json.loads(line) for line in err.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["down", "waiting_for_lead", "running", "ended"]
    assert lines[0]["level"] == "warning"
    assert lines[0]["dependency"] == "vault"
    assert "\x1b" not in json.dumps(lines)
    assert "\\u001b" not in json.dumps(lines)
    assert (lines[3]["verdict"], lines[3]["exit_code"]) == ("failed", 3)


def test_a_run_whose_node_is_down_runs_and_says_where() -> None:
    down = "node client-2 is down since noon, waiting for it to return or be declared lost"
    one = claim("one", Phase.SUBMITTED)
    seen = Observation(
        state=RunState.RUNNING,
        engine_id=one.engine_id,
        engine=Placement(kind="nomad", job=one.engine_id, node="client-2"),
        reason=down,
    )
    said = status(one, waits=(wait("one", WaitingFor.ENGINE, down),))
    overview = of_status(replace(said, observations={one.key: seen}), ())
    (action,) = Overview.from_json(json.loads(json.dumps(overview.to_json()))).open
    assert (action.state, action.node, action.reason) == (State.RUNNING, "client-2", down)


def test_job_class_and_bot_are_those_of_the_settings() -> None:
    placed = Placing(variant=JobVariant(job_class="sidecar"), bot="gardener")
    parsed = parse_action(
        b'id = "x"\nformula = "f"\ncontext = ""\nsecrets = []\n', path="", stem="x"
    )
    assert isinstance(parsed, Action)

    def candidate(action_id: str) -> Candidate:
        key = RunKey(action_id=action_id, blob="b" * 40)
        return Candidate(key=key, order=0, path="", action=parsed, placing=placed)

    said = status(claim("runs", Phase.SUBMITTED), waits=(wait("waits", WaitingFor.APPROVAL, ""),))
    candidates = {name: candidate(name) for name in ("runs", "waits")}
    overview = of_status(replace(said, candidates=candidates), ())
    rows = Overview.from_json(json.loads(json.dumps(overview.to_json()))).open
    assert [(row.job_class, row.bot) for row in rows] == [("sidecar", "gardener")] * 2
    assert of_open(rows[0]).to_json()["bot"] == "gardener"
    (unknown, _) = of_status(said, ()).open
    assert (of_open(unknown).job_class, of_open(unknown).bot) == (None, None)
