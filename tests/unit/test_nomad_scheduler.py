"""What a real Nomad does too seldom to wait for: answers made up here, over the real adapter."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from dispatcher.engines.log import LazyLogger
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.ended_runs import OUTCOME_WAIT_S
from dispatcher.engines.nomad.parents import CHECK_EVERY_S
from dispatcher.engines.nomad.scheduler import NomadScheduler
from dispatcher.errors import Unavailable
from dispatcher.model.payload import decode_payload, encode_outcome
from dispatcher.model.run import (
    Claim,
    FormulaKind,
    FormulaRef,
    Grant,
    Observation,
    Outcome,
    Phase,
    RunKey,
    RunSpec,
    RunState,
    Tier,
    WrappedGrant,
)
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import settings_model

CHILD = "disinto-runner/dispatch-x-1-aaaaaaaa"
PARENT = {"ID": "disinto-runner", "JobModifyIndex": 7, "TaskGroups": [], "Meta": None}
KEY = RunKey(action_id="x", blob="b" * 40)
SPEC = RunSpec(
    key=KEY,
    commit="c" * 40,
    tier=Tier.LOW,
    formula=FormulaRef(name="f", kind=FormulaKind.SHELL, blob="b" * 40, sha256="0" * 64),
    formula_text=b"true\n",
)
GRANT = WrappedGrant(grant=Grant(wrapping_accessor="w", accessor="a"), token="t", creation_path="p")
LISTING = [
    {"Name": "logs", "FileMode": "drwxrwxrwx", "IsDir": True, "Size": 4096},
    {"Name": "outcome.json", "FileMode": "-rw-r--r--", "IsDir": False, "Size": 2},
]
CLAIM = Claim(key=KEY, phase=Phase.SUBMITTED, commit="c", engine_id=CHILD)


class Nomad:
    """Answers by path."""

    def __init__(self) -> None:
        self.told = [CHILD]
        self.jobs = {"disinto-runner": PARENT, CHILD: PARENT | {"ID": CHILD}}
        self.statuses: list[dict[str, Any]] = []
        self.allocations: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []
        self.outcome: httpx.Response = httpx.Response(404, text="no such file or directory")
        self.stopped: list[str] = []
        self.tokens: list[str | None] = []
        self.read: list[str] = []
        self.index = 7
        self.down = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/")
        if self.down:
            return httpx.Response(500, text="No cluster leader")
        if path.endswith("/dispatch"):
            self.tokens.append(request.url.params.get("idempotency_token"))
            told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
            return httpx.Response(200, json={"DispatchedJobID": told, "EvalID": ""})
        if path.startswith("client/fs/ls/"):
            return httpx.Response(200, json=LISTING)
        if path.startswith("client/fs/"):
            return self.outcome
        if request.method == "DELETE":
            self.stopped.append(path.removeprefix("job/"))
            return httpx.Response(200, json={})
        return self._read(path)

    def _read(self, path: str) -> httpx.Response:
        self.read.append(path)
        answers: dict[str, Any] = {
            "jobs/parse": PARENT,
            "job/disinto-runner/plan": {"JobModifyIndex": self.index, "Diff": {"Type": "None"}},
            "jobs/statuses": self.statuses,
            f"job/{CHILD}/allocations": self.allocations,
            f"job/{CHILD}/evaluations": self.evaluations,
            "evaluations": self.evaluations,
            "nodes": [{"ID": "n1", "Name": "node-1"}],
        }
        if path in answers:
            return httpx.Response(200, json=answers[path])
        job = self.jobs.get(path.removeprefix("job/"))
        if job and path == "job/disinto-runner":
            job = job | {"JobModifyIndex": self.index}
        return httpx.Response(200, json=job) if job else httpx.Response(404, text="job not found")


@pytest.fixture
def nomad() -> Nomad:
    return Nomad()


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scheduler(nomad: Nomad, clock: Clock) -> Iterator[NomadScheduler]:
    settings = settings_model().model_validate({"nomad": {"node_wait_s": 60}})
    api = NomadApi(settings.nomad, {}, transport=httpx.MockTransport(nomad))
    made = NomadScheduler(api, settings, clock=clock)
    yield made
    made.close()


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The facts of warnings, however logging is set up."""
    warnings: list[dict[str, object]] = []

    def warning(_logger: LazyLogger, event: str, **facts: object) -> None:
        warnings.append({"event": event, **facts})

    monkeypatch.setattr(LazyLogger, "warning", warning)
    return warnings


def status(*allocations: str, state: str = "dead", stop: bool = False) -> dict[str, Any]:
    return {
        "ID": CHILD,
        "Status": state,
        "Stop": stop,
        "SubmitTime": int(Clock.now * 1e9),
        "Allocs": [
            {"ID": f"alloc-{number}", "ClientStatus": client, "NodeID": "n1"}
            for number, client in enumerate(allocations)
        ],
    }


def seen(scheduler: NomadScheduler) -> Observation:
    return scheduler.observe([CLAIM])[KEY]


def test_a_job_that_was_named_and_does_not_exist_is_asked_for_again(
    scheduler: NomadScheduler, nomad: Nomad
) -> None:
    nomad.told = ["disinto-runner/dispatch-x-1-bbbbbbbb", CHILD]
    assert scheduler.submit(SPEC, GRANT, again=True) == CHILD
    assert nomad.tokens == [KEY.token, KEY.token]


def test_a_job_that_never_exists_is_an_outage(scheduler: NomadScheduler, nomad: Nomad) -> None:
    nomad.told = ["disinto-runner/dispatch-x-1-bbbbbbbb"]
    with pytest.raises(Unavailable, match="has no such job"):
        scheduler.submit(SPEC, GRANT, again=True)
    assert set(nomad.tokens) == {KEY.token}


def test_the_first_dispatch_of_a_claim_is_not_read_back(
    scheduler: NomadScheduler, nomad: Nomad
) -> None:
    scheduler.submit(SPEC, GRANT)
    nomad.read.clear()
    assert scheduler.submit(SPEC, GRANT) == CHILD
    assert nomad.read == []


def test_parents_are_read_once_for_all_that_was_dispatched(
    scheduler: NomadScheduler, nomad: Nomad
) -> None:
    for _ in range(20):
        scheduler.submit(SPEC, GRANT)
    nomad.read.clear()
    scheduler.observe([])
    scheduler.observe([])
    assert nomad.read == ["job/disinto-runner"]
    assert scheduler.drifted() == {}


def test_a_run_from_a_changed_parent_is_noticed_also_if_the_parent_was_changed_back(
    scheduler: NomadScheduler, nomad: Nomad, warned: list[dict[str, object]]
) -> None:
    scheduler.submit(SPEC, GRANT)
    nomad.jobs[CHILD] = PARENT | {"ID": CHILD, "TaskGroups": [{"Name": "other"}]}
    nomad.index = 9
    scheduler.observe([])
    (warning,) = warned
    assert f"run {CHILD} was dispatched from another job" in str(warning["differences"])


def test_a_parent_registered_anew_with_the_same_content_is_no_drift(
    scheduler: NomadScheduler, nomad: Nomad, clock: Clock
) -> None:
    scheduler.submit(SPEC, GRANT)
    nomad.index = 9
    scheduler.observe([])
    assert scheduler.drifted() == {}
    scheduler.submit(SPEC, GRANT)
    nomad.read.clear()
    clock.now += CHECK_EVERY_S
    scheduler.observe([])
    assert nomad.read == ["job/disinto-runner"]


def test_children_that_cannot_be_read_are_checked_later(
    scheduler: NomadScheduler, nomad: Nomad, clock: Clock, warned: list[dict[str, object]]
) -> None:
    scheduler.submit(SPEC, GRANT)
    nomad.jobs[CHILD] = PARENT | {"ID": CHILD, "TaskGroups": [{"Name": "other"}]}
    nomad.index, nomad.down = 9, True
    scheduler.observe([])
    assert warned == []
    nomad.down = False
    clock.now += CHECK_EVERY_S
    scheduler.observe([])
    assert len(warned) == 1


def test_an_outcome_that_cannot_be_read_is_waited_for(
    scheduler: NomadScheduler, nomad: Nomad, clock: Clock
) -> None:
    nomad.statuses = [status("failed")]
    nomad.outcome = httpx.Response(500, text="No path to node")
    nomad.allocations = [
        {
            "ID": "alloc-0",
            "ClientStatus": "failed",
            "TaskStates": {
                "runner": {"Events": [{"Type": "Terminated", "Details": {"exit_code": "3"}}]}
            },
        }
    ]
    waiting = seen(scheduler)
    assert waiting.state is RunState.RUNNING
    assert "its outcome cannot be read yet" in waiting.reason
    clock.now += OUTCOME_WAIT_S + 1
    ended = seen(scheduler)
    assert ended.outcome is not None
    assert (ended.outcome.verdict, ended.outcome.exit_code) == (Verdict.FAILED, 3)


def test_an_outcome_that_is_none_is_passed_over(scheduler: NomadScheduler, nomad: Nomad) -> None:
    nomad.statuses = [status("complete")]
    nomad.outcome = httpx.Response(200, content=b'{"Data":"e30="}')  # {}
    nomad.allocations = [{"ID": "alloc-0", "ClientStatus": "complete"}]
    outcome = seen(scheduler).outcome
    assert outcome is not None
    assert outcome.verdict is Verdict.ERROR


def test_a_stopped_job_is_over_only_when_its_client_is_done(
    scheduler: NomadScheduler, nomad: Nomad
) -> None:
    nomad.statuses = [status("running", stop=True)]
    assert (seen(scheduler).state, seen(scheduler).reason) == (RunState.RUNNING, "stopping")


@pytest.mark.parametrize(
    "call",
    [
        lambda scheduler: scheduler.submit(SPEC, GRANT),
        lambda scheduler: scheduler.cancel(CLAIM, reason="a person said so"),
        lambda scheduler: scheduler.forget(CLAIM),
        lambda scheduler: scheduler.kept(),
        lambda scheduler: list(scheduler.logs(CLAIM)),
        lambda scheduler: scheduler.offsets_since(CLAIM, 0.0),
    ],
    ids=["submit", "cancel", "forget", "kept", "logs", "offsets_since"],
)
def test_a_nomad_that_failed_is_not_observed_from_memory(
    scheduler: NomadScheduler, nomad: Nomad, call: Callable[[NomadScheduler], object]
) -> None:
    nomad.statuses = [status("running", state="running")]
    seen(scheduler)
    nomad.down = True
    assert seen(scheduler).state is RunState.RUNNING, "nothing has failed yet"
    with pytest.raises(Unavailable):
        call(scheduler)
    with pytest.raises(Unavailable):
        seen(scheduler)


def test_a_silent_node_is_waited_for_and_its_run_stopped_once(
    scheduler: NomadScheduler, nomad: Nomad, clock: Clock
) -> None:
    nomad.statuses = [status("unknown", state="running")]
    down = seen(scheduler)
    assert down.state is RunState.RUNNING
    assert down.engine.node == "node-1"
    assert down.reason.startswith("node node-1 is down since ")
    assert down.reason.endswith("waiting for it to return or be declared lost")
    clock.now += 30
    seen(scheduler)
    assert nomad.stopped == []
    clock.now += 31
    seen(scheduler)
    assert nomad.stopped == [CHILD]
    nomad.statuses = [status("unknown", state="pending", stop=True)]
    nomad.outcome = httpx.Response(500, text="No path to node")
    nomad.allocations = [{"ID": "alloc-0", "ClientStatus": "unknown", "NodeName": "node-1"}]
    outcome = seen(scheduler).outcome
    assert outcome is not None
    assert outcome.verdict is Verdict.LOST
    assert nomad.stopped == [CHILD]


def test_a_node_that_came_back_is_waited_for_anew(
    scheduler: NomadScheduler, nomad: Nomad, clock: Clock
) -> None:
    nomad.statuses = [status("unknown", state="running")]
    seen(scheduler)
    clock.now += 50
    nomad.statuses = [status("running", state="running")]
    assert seen(scheduler).reason == ""
    clock.now += 50
    nomad.statuses = [status("unknown", state="running")]
    seen(scheduler)
    assert nomad.stopped == []


def test_a_lost_run_gets_no_second_place(scheduler: NomadScheduler, nomad: Nomad) -> None:
    nomad.statuses = [status("lost", state="pending")]
    assert seen(scheduler).state is RunState.RUNNING
    assert nomad.stopped == [CHILD]


def test_a_replacement_that_runs_is_waited_for(scheduler: NomadScheduler, nomad: Nomad) -> None:
    nomad.statuses = [status("lost", "running", state="running")]
    assert seen(scheduler).state is RunState.RUNNING
    assert nomad.stopped == []


def test_what_was_collected_between_two_questions_is_absent(
    scheduler: NomadScheduler, nomad: Nomad
) -> None:
    nomad.statuses = [status("complete")]
    del nomad.jobs[CHILD]
    assert scheduler.observe([CLAIM]) == {}


def test_an_end_is_read_once(scheduler: NomadScheduler, nomad: Nomad) -> None:
    nomad.statuses = [status("failed")]
    nomad.allocations = [{"ID": "alloc-0", "ClientStatus": "failed"}]
    first = seen(scheduler)
    nomad.statuses = []
    assert seen(scheduler) is first
    scheduler.forget(CLAIM)
    assert scheduler.observe([CLAIM]) == {}


def test_a_place_is_waited_for_so_long(
    scheduler: NomadScheduler, nomad: Nomad, clock: Clock
) -> None:
    nomad.statuses = [status(state="pending")]
    metric = {"NodesEvaluated": 2, "NodesExhausted": 2, "DimensionExhausted": {"memory": 2}}
    nomad.evaluations = [{"JobID": CHILD, "Status": "blocked", "FailedTGAllocs": {"run": metric}}]
    assert seen(scheduler).reason == "2 nodes evaluated, 2 exhausted: memory"
    clock.now += 901
    seen(scheduler)
    assert nomad.stopped == [CHILD]
    nomad.statuses = [status(stop=True)]
    outcome = seen(scheduler).outcome
    assert outcome is not None
    assert outcome.verdict is Verdict.UNPLACEABLE
    assert "2 exhausted: memory" in outcome.error


def test_a_clock_that_was_set_stops_no_run_that_waits(nomad: Nomad) -> None:
    """Waiting for placement is not measured by the time of day: this one waits since 1970."""
    settings = settings_model().model_validate({"nomad": {"node_wait_s": 60}})
    scheduler = NomadScheduler(
        NomadApi(settings.nomad, {}, transport=httpx.MockTransport(nomad)), settings
    )
    try:
        nomad.statuses = [status(state="pending")]
        for _ in range(2):
            seen(scheduler)
        assert nomad.stopped == []
    finally:
        scheduler.close()


def dispatched(nomad: Nomad, grant: WrappedGrant, **settings: str) -> dict[str, Any]:
    """What Nomad is sent to dispatch a job."""
    bodies: list[dict[str, Any]] = []

    def record(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/dispatch"):
            bodies.append(json.loads(request.content))
        return nomad(request)

    given = settings_model().model_validate({"nomad": settings})
    api = NomadApi(given.nomad, {}, transport=httpx.MockTransport(record))
    NomadScheduler(api, given).submit(SPEC, grant)
    return bodies[0]


@pytest.mark.parametrize(
    ("settings", "url", "has_outcome"),
    [
        ({}, "http://127.0.0.1:8480", False),
        ({"listener_url": "https://serve.example"}, "https://serve.example", True),
    ],
    ids=["guessed", "set"],
)
def test_only_an_address_that_was_set_gets_outcomes(
    nomad: Nomad, settings: dict[str, str], url: str, has_outcome: bool
) -> None:
    payload = decode_payload(base64.b64decode(dispatched(nomad, GRANT, **settings)["Payload"]))
    spec = payload.spec
    assert (spec.listener_url, spec.notice_has_outcome) == (url, has_outcome)


def test_no_meta_is_secret(nomad: Nomad) -> None:
    secret = WrappedGrant(grant=GRANT.grant, token="hvs.the-wrapping-token", creation_path="p")
    meta = dispatched(nomad, secret)["Meta"]
    assert not re.search("wrapping-token", json.dumps(meta))
    assert set(meta) == {
        "action_id",
        "formula",
        "commit",
        "grant_accessor",
        "blob",
        "tier",
        "approved_by",
    }


def framed(data: bytes) -> httpx.Response:
    frame = {"Data": base64.b64encode(data).decode(), "File": "outcome.json", "Offset": len(data)}
    return httpx.Response(200, json=frame)


@pytest.mark.parametrize(
    "left",
    [
        framed(encode_outcome(Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, logs="unredacted"))),
        framed(
            encode_outcome(
                Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, logs="unredacted"), key="another"
            )
        ),
        httpx.Response(400, text="Path escapes the alloc directory"),
    ],
    ids=["no mac", "another's mac", "a link that leads out"],
)
def test_an_outcome_that_the_runner_did_not_write_is_not_believed(
    scheduler: NomadScheduler, nomad: Nomad, left: httpx.Response
) -> None:
    nomad.statuses, nomad.outcome = [status("complete")], left
    terminated = {"Type": "Terminated", "Time": 1, "Details": {"exit_code": "0"}}
    nomad.allocations = [
        {
            "ID": "alloc-0",
            "ClientStatus": "complete",
            "TaskStates": {"runner": {"Events": [terminated]}},
        }
    ]
    keyed = replace(CLAIM, outcome_key="the run's own")
    outcome = scheduler.observe([keyed])[KEY].outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.exit_code, outcome.logs) == (Verdict.FAILED, 1, "")
    assert "not written by this run's runner" in outcome.error


def test_the_runners_own_outcome_is_believed_without_another_call(
    scheduler: NomadScheduler, nomad: Nomad
) -> None:
    mine = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True, logs="redacted")
    nomad.statuses = [status("complete")]
    nomad.outcome = framed(encode_outcome(mine, key="the run's own"))
    assert scheduler.observe([replace(CLAIM, outcome_key="the run's own")])[KEY].outcome == mine
