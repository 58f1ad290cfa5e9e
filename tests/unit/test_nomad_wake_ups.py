"""An event, or a runner's notice, that names an allocation that has ended: its outcome is read at once, and
believed only if it proves itself.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dispatcher.engines.nomad.api import Allocation, Event, NomadApi
from dispatcher.engines.nomad.observing import LIST_LASTS_S, Observer
from dispatcher.engines.nomad.reads import FIRST_PAUSE_S
from dispatcher.engines.nomad.wake_ups import Coalesced, child_of, ended_allocation, open_allocation
from dispatcher.model.payload import authenticate, encode_end_notice, encode_outcome
from dispatcher.model.run import Claim, Outcome, Phase, RunKey, RunState
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import settings_model

PREFIX = "disinto-runner"
GOOD = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True, logs="redacted")


def claim_of(name: str) -> Claim:
    return Claim(
        key=RunKey(action_id=name, blob="b" * 40),
        phase=Phase.SUBMITTED,
        commit="c",
        engine_id=f"{PREFIX}/dispatch-{name}-1-aaaaaaaa",
        outcome_key="the run's own",
    )


ONE, TWO = claim_of("one"), claim_of("two")


class Server:
    """A Nomad with two runs; those in ``over`` have ended in its list."""

    def __init__(self) -> None:
        self.over: set[str] = set()
        self.outcome = encode_outcome(GOOD, key="the run's own")
        self.lists: list[list[str]] = []
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/")
        self.asked.append(path)
        if path.startswith("client/fs/ls/"):
            return httpx.Response(200, json=[{"Name": "outcome.json", "FileMode": "-rw-r--r--"}])
        if path.startswith("client/fs/"):
            data = base64.b64encode(self.outcome).decode()
            return httpx.Response(200, json={"Data": data})
        if path == "jobs/statuses":
            asked = [claim for claim in (ONE, TWO) if claim.engine_id in request.content.decode()]
            self.lists.append([claim.key.action_id for claim in asked])
            return httpx.Response(200, json=[self.status(claim) for claim in asked])
        if path.endswith("/allocations"):
            return httpx.Response(200, json=[self.record(path.split("-")[2])])
        return httpx.Response(200, json=[] if path == "evaluations" else [{"ID": "n", "Name": "n"}])

    def status(self, claim: Claim) -> dict[str, Any]:
        name = claim.key.action_id
        over = name in self.over
        client = "complete" if over else "running"
        return {
            "ID": claim.engine_id,
            "Status": "dead" if over else "running",
            "Allocs": [{"ID": name, "ClientStatus": client, "NodeID": "n"}],
        }

    def record(self, name: str) -> dict[str, Any]:
        ended = {"Type": "Terminated", "Time": 1, "Details": {"exit_code": "7"}}
        return {
            "ID": name,
            "ClientStatus": "complete",
            "NodeID": "n",
            "TaskStates": {"runner": {"Events": [ended]}},
        }


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def woken() -> list[None]:
    """One entry for each time that the loop was woken."""
    return []


@pytest.fixture
def observer(server: Server, clock: Clock, woken: list[None]) -> Iterator[Observer]:
    settings = settings_model().model_validate({"nomad": {}})
    api = NomadApi(settings.nomad, {}, transport=httpx.MockTransport(server))
    made = Observer(api, settings, clock=clock, wake=lambda: woken.append(None))
    made.observe([ONE, TWO])
    server.lists.clear()
    server.asked.clear()
    yield made
    made.close()


def ended(claim: Claim, state: str = "complete") -> Allocation:
    return Allocation(ID=claim.key.action_id, JobID=claim.engine_id, NodeID="n", ClientStatus=state)


def test_what_an_event_names_is_concluded_without_a_list(
    observer: Observer, server: Server
) -> None:
    observer.told(ended(ONE))
    seen = observer.observe([ONE, TWO])
    assert seen[ONE.key].outcome == GOOD
    assert seen[ONE.key].engine.node == "n"
    assert seen[TWO.key].state is RunState.RUNNING
    assert server.lists == []
    assert observer.observe([ONE, TWO])[ONE.key].outcome == GOOD
    assert server.lists == [], "what was said is known, and nothing more was said"


def test_a_list_that_is_old_is_read_again(observer: Observer, server: Server, clock: Clock) -> None:
    observer.told(ended(ONE))
    clock.now += LIST_LASTS_S
    server.over = {"two"}
    seen = observer.observe([ONE, TWO])
    assert [seen[claim.key].state for claim in (ONE, TWO)] == [RunState.ENDED, RunState.ENDED]
    assert server.lists == [["two"]]


def test_a_run_that_no_list_has_shown_is_not_taken_from_an_earlier_one(
    observer: Observer, server: Server
) -> None:
    observer.forget(TWO.engine_id)
    observer.told(ended(ONE))
    assert observer.observe([ONE, TWO])[TWO.key].state is RunState.RUNNING
    assert server.lists == [["two"]]


def test_a_run_just_dispatched_needs_no_list(observer: Observer, server: Server) -> None:
    observer.forget(TWO.engine_id)
    observer.dispatched(TWO.engine_id, outcome_key="")
    observer.told(ended(ONE))
    assert observer.observe([ONE, TWO])[TWO.key].state is RunState.PENDING
    assert server.lists == []


def notice(
    claim: Claim, *, alloc: str = "", key: str = "the run's own", clean: bool = True
) -> bytes:
    plain = {"job": claim.engine_id, "alloc": alloc or claim.key.action_id, "clean": clean}
    return authenticate(json.dumps(plain).encode(), key)


def test_what_a_runner_says_of_itself_is_read_at_once(observer: Observer, server: Server) -> None:
    assert observer.told_by_runner(notice(ONE))
    seen = observer.observe([ONE, TWO])
    assert seen[ONE.key].outcome == GOOD
    assert (seen[ONE.key].engine.alloc, seen[ONE.key].engine.node) == ("one", "n")
    assert seen[TWO.key].state is RunState.RUNNING
    assert server.lists == []


def noticed(claim: Claim, outcome: bytes, *, key: str = "the run's own") -> bytes:
    """A notice with its outcome."""
    return encode_end_notice(
        claim.engine_id, claim.key.action_id, outcome=outcome, key=key, clean=True
    )


def test_an_outcome_in_the_notice_needs_no_call(observer: Observer, server: Server) -> None:
    assert observer.told_by_runner(noticed(ONE, server.outcome))
    seen = observer.observe([ONE, TWO])[ONE.key]
    assert seen.outcome == GOOD
    assert (seen.engine.alloc, seen.engine.node) == ("one", "n")
    assert server.asked == []


def test_where_a_run_is_may_come_from_an_event(observer: Observer, server: Server) -> None:
    observer.forget(TWO.engine_id)
    observer.dispatched(TWO.engine_id, outcome_key=TWO.outcome_key)
    observer.placed(ended(TWO, "running"))
    assert observer.told_by_runner(noticed(TWO, server.outcome))
    assert observer.observe([ONE, TWO])[TWO.key].engine.node == "n"
    assert server.asked == []


def test_an_outcome_in_the_notice_proves_itself_too(observer: Observer, server: Server) -> None:
    other = Outcome(verdict=Verdict.FAILED, exit_code=1, formula_started=True)
    assert observer.told_by_runner(noticed(ONE, encode_outcome(other, key="somebody else's")))
    assert observer.observe([ONE, TWO])[ONE.key].outcome == GOOD


def test_an_end_that_nomad_may_correct_waits_for_its_records(
    observer: Observer, server: Server
) -> None:
    killed = Outcome(verdict=Verdict.FAILED, exit_code=137, formula_started=True)
    assert observer.told_by_runner(noticed(ONE, encode_outcome(killed, key="the run's own")))
    assert observer.observe([ONE, TWO])[ONE.key].state is RunState.RUNNING
    assert server.lists[0] == ["one"]


def test_the_outcome_in_a_notice_is_of_the_allocation_that_sent_it(
    observer: Observer, server: Server, clock: Clock
) -> None:
    stopped = encode_outcome(Outcome(verdict=Verdict.CANCELLED, exit_code=143), key="the run's own")
    assert observer.told_by_runner(
        encode_end_notice(
            ONE.engine_id, "drained", outcome=stopped, key="the run's own", clean=True
        )
    )
    assert observer.observe([ONE, TWO])[ONE.key].state is RunState.RUNNING, "in its second one"
    clock.now += FIRST_PAUSE_S
    server.over = {"one"}
    assert observer.observe([ONE, TWO])[ONE.key].outcome == GOOD


def test_a_runner_may_be_quicker_than_the_first_list(observer: Observer, server: Server) -> None:
    observer.forget(TWO.engine_id)
    observer.dispatched(TWO.engine_id, outcome_key=TWO.outcome_key)
    assert observer.told_by_runner(notice(TWO))
    assert observer.observe([ONE, TWO])[TWO.key].outcome == GOOD


def test_a_notice_alone_ends_no_run(observer: Observer, server: Server) -> None:
    server.outcome = encode_outcome(GOOD, key="somebody else's")
    assert observer.told_by_runner(notice(ONE))
    assert observer.observe([ONE, TWO])[ONE.key].state is RunState.RUNNING
    assert server.lists[0] == ["one"]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"[]",
        b'{"job": 1}',
        b"[" * 900,
        b'{"job": "x", "alloc": "y"}',
        notice(ONE, key=""),
        notice(ONE, key="somebody else's"),
        notice(ONE).replace(b"one", b"two"),
        notice(ONE) + b" ",
        noticed(ONE, encode_outcome(GOOD, key="the run's own"), key="somebody else's"),
        notice(claim_of("stranger")),
    ],
)
def test_only_the_runner_of_a_run_in_flight_is_heard(
    observer: Observer, server: Server, sent: bytes
) -> None:
    assert not observer.told_by_runner(sent)
    seen = observer.observe([ONE, TWO])
    assert {each.state for each in seen.values()} == {RunState.RUNNING}
    assert server.asked == []


def test_a_run_that_is_over_is_not_heard_again(observer: Observer) -> None:
    assert observer.told_by_runner(notice(ONE))
    observer.observe([ONE, TWO])
    observer.forget(ONE.engine_id)
    assert not observer.told_by_runner(notice(ONE))


def test_a_notice_that_is_sent_again_wakes_once(observer: Observer, woken: list[None]) -> None:
    for _ in range(3):
        assert observer.told_by_runner(notice(ONE))
    assert len(woken) == 1
    observer.observe([ONE, TWO])
    assert observer.told_by_runner(notice(ONE))
    assert len(woken) == 1
    assert observer.told_by_runner(notice(TWO))
    assert len(woken) == 2


def test_an_event_alone_ends_no_run(observer: Observer, server: Server) -> None:
    server.outcome = encode_outcome(GOOD, key="somebody else's")
    observer.told(ended(ONE))
    assert observer.observe([ONE, TWO])[ONE.key].state is RunState.RUNNING
    assert server.lists[0] == ["one"]


def test_without_a_report_that_proves_itself_nomads_records_decide(
    observer: Observer, server: Server
) -> None:
    server.outcome = encode_outcome(GOOD, key="somebody else's")
    server.over = {"one"}
    observer.told(ended(ONE))
    outcome = observer.observe([ONE, TWO])[ONE.key].outcome
    assert outcome is not None
    assert outcome.verdict is not Verdict.SUCCEEDED
    assert server.lists == [["one"]]


def test_a_job_that_was_never_listed_is_not_noted(observer: Observer, server: Server) -> None:
    stranger = claim_of("stranger")
    assert not observer.told(ended(stranger))
    assert observer.observe([ONE, TWO]).keys() == {ONE.key, TWO.key}
    assert server.asked == []


@pytest.mark.parametrize("state", ["pending", "running", "lost", "unknown", ""])
def test_only_what_a_client_ended_is_an_end(state: str) -> None:
    assert ended_allocation(event(state)) is None
    assert ended_allocation(event("failed")) is not None


def test_jobs_of_others_do_not_concern_us() -> None:
    assert child_of(event("complete"), PREFIX) == ONE.engine_id
    assert not child_of(event("complete"), "another")


def event(state: str) -> Event:
    payload = json.loads(json.dumps({"Allocation": ended(ONE, state)}))
    return Event(
        topic="Allocation",
        type="AllocationUpdated",
        key="one",
        filter_keys=(ONE.engine_id,),
        index=1,
        payload=payload,
    )


def test_changes_that_come_together_are_one_wake_up() -> None:
    calls: list[int] = []
    woken = threading.Event()

    def wake() -> None:
        calls.append(1)
        woken.set()

    later = Coalesced(wake, after_s=0.05)
    for _ in range(20):
        later()
    assert woken.wait(10)
    assert len(calls) == 1
    woken.clear()
    later()
    assert woken.wait(10)
    assert len(calls) == 2


def test_that_a_run_began_needs_no_list(observer: Observer, server: Server) -> None:
    observer.forget(TWO.engine_id)
    observer.dispatched(TWO.engine_id, outcome_key=TWO.outcome_key)
    for state, seen in (("pending", RunState.PENDING), ("running", RunState.RUNNING)):
        assert observer.placed(ended(TWO, state))
        observed = observer.observe([ONE, TWO])[TWO.key]
        assert (observed.state, observed.engine.node) == (seen, "n")
    assert server.lists == []
    assert not observer.placed(ended(TWO, "running")), "it was said before"
    assert observer.observe([ONE, TWO])[TWO.key].state is RunState.RUNNING
    assert server.lists == []


def test_any_other_change_needs_a_list(observer: Observer, server: Server) -> None:
    observer.told(ended(ONE))
    assert observer.changed(TWO.engine_id)
    observer.observe([ONE, TWO])
    assert server.lists == [["two"]]
    assert not observer.changed(ONE.engine_id), "its end is known"
    assert not observer.changed(claim_of("stranger").engine_id)


def test_after_a_gap_in_the_events_a_list_is_read(observer: Observer, server: Server) -> None:
    observer.told(ended(ONE))
    observer.doubt()
    observer.observe([ONE, TWO])
    assert server.lists == [["two"]]


@pytest.mark.parametrize("news", ["told", "placed", "changed"])
def test_what_is_said_of_a_run_before_nomads_answer_arrived_is_not_lost(
    observer: Observer, server: Server, woken: list[None], news: str
) -> None:
    observer.forget(TWO.engine_id)
    if news == "changed":
        assert not observer.changed(TWO.engine_id)
    else:
        assert not getattr(observer, news)(ended(TWO, "complete" if news == "told" else "running"))
    assert not woken
    observer.dispatched(TWO.engine_id, outcome_key=TWO.outcome_key)
    assert len(woken) == 1
    observer.told(ended(ONE))
    observer.observe([ONE, TWO])
    assert server.lists == [["two"]]


def test_a_report_that_the_runner_vouches_for_is_read_without_a_look(
    observer: Observer, server: Server
) -> None:
    assert observer.told_by_runner(notice(ONE))
    assert observer.observe([ONE, TWO])[ONE.key].outcome == GOOD
    assert [path for path in server.asked if "/fs/" in path] == ["client/fs/stream/one"]


def test_a_runner_that_left_processes_vouches_for_nothing(
    observer: Observer, server: Server
) -> None:
    assert observer.told_by_runner(notice(ONE, clean=False))
    assert observer.observe([ONE, TWO])[ONE.key].outcome == GOOD
    assert [path.split("/")[2] for path in server.asked if "/fs/" in path] == ["ls", "stream"]


def test_what_a_process_put_in_its_place_is_looked_at_first(
    observer: Observer, server: Server
) -> None:
    server.outcome, server.over = encode_outcome(GOOD, key="somebody else's"), {"one"}
    assert observer.told_by_runner(notice(ONE))
    observer.observe([ONE, TWO])
    read = [path.split("/")[2] for path in server.asked if "/fs/" in path]
    assert read == ["stream", "ls", "stream"]


def test_the_event_of_our_own_dispatch_says_nothing() -> None:
    assert open_allocation(event("running")) is None, "it may be stopped"
    for state, is_open in (("pending", True), ("running", True), ("lost", False)):
        said = event(state)
        said.payload["Allocation"]["DesiredStatus"] = "run"
        assert (open_allocation(said) is not None) is is_open


def test_a_list_without_a_run_just_dispatched_does_not_hide_what_is_said_of_it(
    observer: Observer, server: Server, woken: list[None], clock: Clock
) -> None:
    observer.forget(TWO.engine_id)
    observer.dispatched(TWO.engine_id, outcome_key=TWO.outcome_key)
    observer.doubt()
    clock.now += 0.1
    observer.observe([ONE])
    assert server.lists == [["one"]], "the loop does not know yet that it was dispatched"
    assert observer.placed(ended(TWO, "running"))
    assert observer.told_by_runner(notice(TWO))
    assert len(woken) == 1
    assert observer.observe([ONE, TWO])[TWO.key].outcome == GOOD
    assert server.lists == [["one"]]


def test_a_run_that_came_back_is_news(observer: Observer, server: Server) -> None:
    assert observer.placed(ended(TWO, "running"))
    assert observer.changed(TWO.engine_id), "its node does not answer"
    assert observer.placed(ended(TWO, "running"))


@pytest.mark.parametrize("early", [True, False])
def test_what_is_said_of_a_run_before_the_loop_knows_of_it_wakes_again(
    observer: Observer, server: Server, woken: list[None], clock: Clock, early: bool
) -> None:
    again = threading.Event()
    observer._wake_later = again.set  # type: ignore[assignment]
    observer.forget(TWO.engine_id)
    if early:
        observer.told(ended(TWO))
    observer.dispatched(TWO.engine_id, outcome_key=TWO.outcome_key)
    if not early:
        observer.told(ended(TWO))
    observer.observe([ONE])
    assert again.is_set()
    again.clear()
    assert observer.observe([ONE, TWO])[TWO.key].state is not RunState.PENDING
    assert not again.is_set()
    observer.dispatched(claim_of("stranger").engine_id, outcome_key="")
    observer.told(ended(claim_of("stranger")))
    clock.now += LIST_LASTS_S
    observer.observe([ONE])
    assert not again.is_set(), "the loop will never know of it"


def test_an_end_that_waits_for_nomads_records_is_read_when_nomad_says_so(
    observer: Observer, server: Server
) -> None:
    stopped = encode_outcome(Outcome(verdict=Verdict.CANCELLED, exit_code=143), key="the run's own")
    assert observer.told_by_runner(noticed(ONE, stopped))
    assert observer.observe([ONE, TWO])[ONE.key].state is RunState.RUNNING
    server.over = {"one"}
    assert observer.told_by_runner(noticed(ONE, stopped))
    assert observer.observe([ONE, TWO])[ONE.key].state is RunState.RUNNING, "anybody may repeat it"
    assert observer.told(ended(ONE))
    assert observer.observe([ONE, TWO])[ONE.key].state is RunState.ENDED


def test_a_doubt_lasts_until_a_list_has_the_run(
    observer: Observer, server: Server, clock: Clock
) -> None:
    observer.forget(TWO.engine_id)
    observer.placed(ended(TWO, "running"))
    observer.dispatched(TWO.engine_id, outcome_key=TWO.outcome_key)
    observer.doubt()
    clock.now += 0.1
    observer.observe([ONE])
    clock.now += 0.1
    observer.told(ended(ONE))
    assert observer.observe([ONE, TWO])[TWO.key].state is RunState.RUNNING
    assert server.lists == [["one"], ["two"]]
