"""An event that says something of a run: its outcome is read at once, and believed only if it proves itself; or it
is entered, so that no list is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dispatcher.engines.nomad.coalesced import Coalesced
from dispatcher.engines.nomad.run_cache import ENTERED_WITHIN_S, LIST_LASTS_S, REMEMBERED
from dispatcher.engines.nomad.run_events import child_of, ended_allocation, open_allocation
from dispatcher.model.payload import encode_outcome
from dispatcher.model.run import RunState
from dispatcher.model.verdicts import Verdict
from tests.support.observed_nomad import (
    GOOD,
    ONE,
    PREFIX,
    TWO,
    ObservedNomad,
    allocation,
    claim_of,
    event,
    notice,
    observed_nomad,
)


@pytest.fixture
def nomad() -> Iterator[ObservedNomad]:
    with observed_nomad() as made:
        yield made


def test_what_an_event_names_is_concluded_without_a_list(nomad: ObservedNomad) -> None:
    nomad.observer.allocation_ended(allocation(ONE))
    seen = nomad.observe(ONE, TWO)
    assert seen[ONE.key].outcome == GOOD
    assert seen[ONE.key].engine.node == "n"
    assert seen[TWO.key].state is RunState.RUNNING
    assert nomad.lists == []
    assert nomad.observe(ONE, TWO)[ONE.key].outcome == GOOD
    assert nomad.lists == [], "what was said is known, and nothing more was said"


def test_a_list_that_is_old_is_read_again(nomad: ObservedNomad) -> None:
    nomad.observer.allocation_ended(allocation(ONE))
    nomad.now += LIST_LASTS_S
    nomad.over = {"two"}
    seen = nomad.observe(ONE, TWO)
    assert [seen[claim.key].state for claim in (ONE, TWO)] == [RunState.ENDED, RunState.ENDED]
    assert nomad.lists == [["two"]]


def test_a_run_that_no_list_has_shown_is_not_taken_from_an_earlier_one(
    nomad: ObservedNomad,
) -> None:
    nomad.observer.forget(TWO.engine_id)
    nomad.observer.allocation_ended(allocation(ONE))
    assert nomad.observe(ONE, TWO)[TWO.key].state is RunState.RUNNING
    assert nomad.lists == [["two"]]


def test_a_run_just_dispatched_needs_no_list(nomad: ObservedNomad) -> None:
    nomad.observer.forget(TWO.engine_id)
    nomad.observer.dispatched(TWO.engine_id, outcome_key="")
    nomad.observer.allocation_ended(allocation(ONE))
    assert nomad.observe(ONE, TWO)[TWO.key].state is RunState.PENDING
    assert nomad.lists == []


def test_an_event_alone_ends_no_run(nomad: ObservedNomad) -> None:
    nomad.outcome = encode_outcome(GOOD, key="somebody else's")
    nomad.observer.allocation_ended(allocation(ONE))
    assert nomad.observe(ONE, TWO)[ONE.key].state is RunState.RUNNING
    assert nomad.lists[0] == ["one"]


def test_without_a_report_that_proves_itself_nomads_records_decide(nomad: ObservedNomad) -> None:
    nomad.outcome = encode_outcome(GOOD, key="somebody else's")
    nomad.over = {"one"}
    nomad.observer.allocation_ended(allocation(ONE))
    outcome = nomad.observe(ONE, TWO)[ONE.key].outcome
    assert outcome is not None
    assert outcome.verdict is not Verdict.SUCCEEDED
    assert nomad.lists == [["one"]]


def test_a_job_that_was_never_listed_is_not_noted(nomad: ObservedNomad) -> None:
    stranger = claim_of("stranger")
    nomad.observer.allocation_ended(allocation(stranger))
    assert not nomad.woken
    assert nomad.observe(ONE, TWO).keys() == {ONE.key, TWO.key}
    assert nomad.asked == []


@pytest.mark.parametrize("state", ["pending", "running", "lost", "unknown", ""])
def test_only_what_a_client_ended_is_an_end(state: str) -> None:
    assert ended_allocation(event(state)) is None
    assert ended_allocation(event("failed")) is not None


def test_jobs_of_others_do_not_concern_us() -> None:
    assert child_of(event("complete"), PREFIX) == ONE.engine_id
    assert not child_of(event("complete"), "another")


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


def test_that_a_run_began_needs_no_list(nomad: ObservedNomad) -> None:
    nomad.observer.forget(TWO.engine_id)
    nomad.dispatched(TWO)
    for state, seen in (("pending", RunState.PENDING), ("running", RunState.RUNNING)):
        nomad.observer.allocation_placed(allocation(TWO, state))
        observed = nomad.observe(ONE, TWO)[TWO.key]
        assert (observed.state, observed.engine.node) == (seen, "n")
    assert len(nomad.woken_later) == 2
    nomad.observer.allocation_placed(allocation(TWO, "running"))
    assert len(nomad.woken_later) == 2, "it was said before"
    assert nomad.observe(ONE, TWO)[TWO.key].state is RunState.RUNNING
    assert nomad.lists == []


def test_any_other_change_needs_a_list(nomad: ObservedNomad) -> None:
    nomad.observer.allocation_ended(allocation(ONE))
    nomad.observer.changed(TWO.engine_id)
    assert len(nomad.woken_later) == 1
    nomad.observe(ONE, TWO)
    assert nomad.lists == [["two"]]
    nomad.observer.changed(ONE.engine_id)
    nomad.observer.changed(claim_of("stranger").engine_id)
    assert len(nomad.woken_later) == 1, "the end of one is known, and the other is not ours"


def test_after_a_gap_in_the_events_a_list_is_read(nomad: ObservedNomad) -> None:
    nomad.observer.allocation_ended(allocation(ONE))
    nomad.observer.doubt()
    nomad.observe(ONE, TWO)
    assert nomad.lists == [["two"]]


@pytest.mark.parametrize(
    ("news", "lists"), [("ended", [["two"]]), ("placed", []), ("changed", [["two"]])]
)
def test_what_is_said_of_a_run_before_nomads_answer_arrived_is_not_lost(
    nomad: ObservedNomad, news: str, lists: list[list[str]]
) -> None:
    nomad.observer.forget(TWO.engine_id)
    {
        "ended": lambda: nomad.observer.allocation_ended(allocation(TWO)),
        "placed": lambda: nomad.observer.allocation_placed(allocation(TWO, "running")),
        "changed": lambda: nomad.observer.changed(TWO.engine_id),
    }[news]()
    assert not nomad.woken
    nomad.dispatched(TWO)
    assert len(nomad.woken) == 1
    nomad.observer.allocation_ended(allocation(ONE))
    assert nomad.observe(ONE, TWO)[TWO.key].state is RunState.RUNNING
    assert nomad.lists == lists


def test_only_what_is_to_run_is_open() -> None:
    assert open_allocation(event("running", desired="")) is None, "it may be stopped"
    for state, is_open in (("pending", True), ("running", True), ("lost", False)):
        assert (open_allocation(event(state)) is not None) is is_open


def test_a_list_without_a_run_just_dispatched_does_not_hide_what_is_said_of_it(
    nomad: ObservedNomad,
) -> None:
    nomad.observer.forget(TWO.engine_id)
    nomad.dispatched(TWO)
    nomad.observer.doubt()
    nomad.now += 0.1
    nomad.observe(ONE)
    assert nomad.lists == [["one"]], "the loop does not know yet that it was dispatched"
    assert len(nomad.woken_later) == 1, "the gap may hide what became of it"
    nomad.observer.allocation_placed(allocation(TWO, "running"))
    assert len(nomad.woken_later) == 2
    assert nomad.observer.told_by_runner(notice(TWO))
    assert len(nomad.woken) == 1
    assert nomad.observe(ONE, TWO)[TWO.key].outcome == GOOD
    assert nomad.lists == [["one"]]


def test_a_gap_is_not_forgotten_for_a_run_that_the_next_list_was_not_asked_for(
    nomad: ObservedNomad,
) -> None:
    nomad.observer.forget(TWO.engine_id)
    nomad.dispatched(TWO)
    nomad.observer.doubt()
    nomad.now += 0.1
    nomad.observe(ONE)
    assert nomad.observe(ONE, TWO)[TWO.key].state is RunState.RUNNING
    assert nomad.lists == [["one"], ["one", "two"]]


def test_what_is_remembered_of_unknown_jobs_is_bounded(nomad: ObservedNomad) -> None:
    nomad.observer.forget(TWO.engine_id)
    nomad.observer.allocation_placed(allocation(TWO, "running"))
    for number in range(REMEMBERED):
        nomad.observer.changed(f"{PREFIX}/dispatch-{number}")
    nomad.dispatched(TWO)
    assert not nomad.woken, "the first was forgotten"


@pytest.mark.parametrize("states", [["pending", "running"], ["running", "lost", "running"]])
def test_of_what_is_said_early_the_last_counts(nomad: ObservedNomad, states: list[str]) -> None:
    nomad.observer.forget(TWO.engine_id)
    for state in states:
        if state == "lost":
            nomad.observer.changed(TWO.engine_id)
        else:
            nomad.observer.allocation_placed(allocation(TWO, state))
    nomad.dispatched(TWO)
    assert nomad.observe(ONE, TWO)[TWO.key].state is RunState.RUNNING
    assert nomad.lists == ([["one", "two"]] if "lost" in states else [])


def test_a_run_that_came_back_is_news(nomad: ObservedNomad) -> None:
    nomad.observer.allocation_placed(allocation(TWO, "running"))
    nomad.observer.changed(TWO.engine_id)  # its node does not answer
    nomad.observer.allocation_placed(allocation(TWO, "running"))
    assert len(nomad.woken_later) == 3


@pytest.mark.parametrize("early", [True, False])
def test_what_is_said_of_a_run_before_the_loop_knows_of_it_wakes_again(
    nomad: ObservedNomad, early: bool
) -> None:
    nomad.observer.forget(TWO.engine_id)
    if early:
        nomad.observer.allocation_ended(allocation(TWO))
    nomad.dispatched(TWO)
    if not early:
        nomad.observer.allocation_ended(allocation(TWO))
    nomad.observe(ONE)
    assert len(nomad.woken_later) == 1
    assert nomad.observe(ONE, TWO)[TWO.key].state is not RunState.PENDING
    assert len(nomad.woken_later) == 1
    nomad.dispatched(claim_of("stranger"))
    nomad.observer.allocation_ended(allocation(claim_of("stranger")))
    nomad.now += ENTERED_WITHIN_S
    nomad.observe(ONE)
    assert len(nomad.woken_later) == 1, "the loop will never know of it"


def test_a_doubt_lasts_until_a_list_has_the_run(nomad: ObservedNomad) -> None:
    nomad.observer.forget(TWO.engine_id)
    nomad.dispatched(TWO)
    nomad.observer.changed(TWO.engine_id)
    nomad.observer.doubt()
    nomad.now += 0.1
    nomad.observe(ONE)
    nomad.now += 0.1
    nomad.observer.allocation_ended(allocation(ONE))
    assert nomad.observe(ONE, TWO)[TWO.key].state is RunState.RUNNING
    assert nomad.lists == [["one"], ["two"]]


def test_a_thread_that_could_not_be_started_once_ends_no_later_wake_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[None] = []
    later = Coalesced(lambda: calls.append(None), after_s=0.01)

    def full(_timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", full)
    later()
    later()
    assert len(calls) == 2, "without a pause, but called"


def test_observing_one_run_hides_no_end_of_another(nomad: ObservedNomad) -> None:
    """As a step does that resolves an orphan, beside the loop."""
    nomad.observe(ONE, TWO)
    nomad.now += LIST_LASTS_S
    nomad.observe(ONE)
    nomad.observer.allocation_ended(allocation(TWO))
    assert len(nomad.woken) == 1


def test_observing_one_run_says_nothing_of_another(nomad: ObservedNomad) -> None:
    nomad.now += LIST_LASTS_S
    nomad.observe(ONE)
    assert nomad.observer.told_by_runner(notice(TWO)), "it is known all the same"
    nomad.observer.allocation_ended(allocation(ONE))
    nomad.observer.forget(TWO.engine_id)
    nomad.dispatched(TWO)
    nomad.observe(ONE)
    assert nomad.lists == [["one"]], "what a new dispatch says is new enough"


def test_what_a_list_was_not_asked_for_is_in_the_next_one(nomad: ObservedNomad) -> None:
    nomad.now += LIST_LASTS_S
    nomad.observe(ONE)
    nomad.now += 0.1
    nomad.observe(TWO)
    nomad.observe(TWO)
    assert nomad.lists == [["one"], ["two"]]


def test_a_run_that_could_not_be_observed_is_listed_again(nomad: ObservedNomad) -> None:
    nomad.fails = {"nodes"}
    moved = allocation(TWO, "running")
    moved["NodeID"] = "a node that is new"
    nomad.observer.allocation_placed(moved)
    assert "No cluster leader" in nomad.observe(ONE, TWO)[TWO.key].reason
    nomad.fails.clear()
    nomad.now += 0.1
    assert nomad.observe(ONE, TWO)[TWO.key].reason == ""
    assert nomad.lists == [["one", "two"]]
