"""A runner's notice that it has ended: its outcome is read at once, and believed only if it proves itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dispatcher.engines.nomad.reads import FIRST_PAUSE_S
from dispatcher.model.payload import encode_outcome
from dispatcher.model.run import Outcome, RunState
from dispatcher.model.verdicts import Verdict
from tests.support.observed_nomad import (
    GOOD,
    ONE,
    TWO,
    ObservedNomad,
    allocation,
    claim_of,
    notice,
    observed_nomad,
)


@pytest.fixture
def nomad() -> Iterator[ObservedNomad]:
    with observed_nomad() as made:
        yield made


def test_what_a_runner_says_of_itself_is_read_at_once(nomad: ObservedNomad) -> None:
    assert nomad.observer.told_by_runner(notice(ONE))
    seen = nomad.observe(ONE, TWO)
    assert seen[ONE.key].outcome == GOOD
    assert (seen[ONE.key].engine.alloc, seen[ONE.key].engine.node) == ("one", "n")
    assert seen[TWO.key].state is RunState.RUNNING
    assert nomad.lists == []


def test_an_outcome_in_the_notice_needs_no_call(nomad: ObservedNomad) -> None:
    assert nomad.observer.told_by_runner(notice(ONE, outcome=nomad.outcome))
    seen = nomad.observe(ONE, TWO)[ONE.key]
    assert seen.outcome == GOOD
    assert (seen.engine.alloc, seen.engine.node) == ("one", "n")
    assert nomad.asked == []


def test_where_a_run_is_may_come_from_an_event(nomad: ObservedNomad) -> None:
    nomad.observer.forget(TWO.engine_id)
    nomad.dispatched(TWO)
    nomad.observer.allocation_placed(allocation(TWO, "running"))
    assert nomad.observer.told_by_runner(notice(TWO, outcome=nomad.outcome))
    assert nomad.observe(ONE, TWO)[TWO.key].engine.node == "n"
    assert nomad.asked == []


def test_an_outcome_in_the_notice_proves_itself_too(nomad: ObservedNomad) -> None:
    other = Outcome(verdict=Verdict.FAILED, exit_code=1, formula_started=True)
    assert nomad.observer.told_by_runner(
        notice(ONE, outcome=encode_outcome(other, key="somebody else's"))
    )
    assert nomad.observe(ONE, TWO)[ONE.key].outcome == GOOD


def test_an_end_that_nomad_may_correct_waits_for_its_records(nomad: ObservedNomad) -> None:
    killed = Outcome(verdict=Verdict.FAILED, exit_code=137, formula_started=True)
    assert nomad.observer.told_by_runner(
        notice(ONE, outcome=encode_outcome(killed, key="the run's own"))
    )
    assert nomad.observe(ONE, TWO)[ONE.key].state is RunState.RUNNING
    assert nomad.lists[0] == ["one"]


def test_the_outcome_in_a_notice_is_of_the_allocation_that_sent_it(nomad: ObservedNomad) -> None:
    stopped = encode_outcome(Outcome(verdict=Verdict.CANCELLED, exit_code=143), key="the run's own")
    assert nomad.observer.told_by_runner(notice(ONE, outcome=stopped, alloc="drained"))
    assert nomad.observe(ONE, TWO)[ONE.key].state is RunState.RUNNING, "in its second one"
    nomad.now += FIRST_PAUSE_S
    nomad.over = {"one"}
    assert nomad.observe(ONE, TWO)[ONE.key].outcome == GOOD


def test_a_runner_may_be_quicker_than_the_first_list(nomad: ObservedNomad) -> None:
    nomad.observer.forget(TWO.engine_id)
    nomad.dispatched(TWO)
    assert nomad.observer.told_by_runner(notice(TWO))
    assert nomad.observe(ONE, TWO)[TWO.key].outcome == GOOD


def test_a_notice_alone_ends_no_run(nomad: ObservedNomad) -> None:
    nomad.outcome = encode_outcome(GOOD, key="somebody else's")
    assert nomad.observer.told_by_runner(notice(ONE))
    assert nomad.observe(ONE, TWO)[ONE.key].state is RunState.RUNNING
    assert nomad.lists[0] == ["one"]


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
        notice(ONE, outcome=encode_outcome(GOOD, key="the run's own"), key="somebody else's"),
        notice(claim_of("stranger")),
    ],
)
def test_only_the_runner_of_a_run_in_flight_is_heard(nomad: ObservedNomad, sent: bytes) -> None:
    assert not nomad.observer.told_by_runner(sent)
    seen = nomad.observe(ONE, TWO)
    assert {each.state for each in seen.values()} == {RunState.RUNNING}
    assert nomad.asked == []


def test_a_run_that_is_over_is_not_heard_again(nomad: ObservedNomad) -> None:
    assert nomad.observer.told_by_runner(notice(ONE))
    nomad.observe(ONE, TWO)
    nomad.observer.forget(ONE.engine_id)
    assert not nomad.observer.told_by_runner(notice(ONE))


def test_a_notice_that_is_sent_again_wakes_once(nomad: ObservedNomad) -> None:
    for _ in range(3):
        assert nomad.observer.told_by_runner(notice(ONE))
    assert len(nomad.woken) == 1
    nomad.observe(ONE, TWO)
    assert nomad.observer.told_by_runner(notice(ONE))
    assert len(nomad.woken) == 1
    assert nomad.observer.told_by_runner(notice(TWO))
    assert len(nomad.woken) == 2


def test_a_report_that_the_runner_vouches_for_is_read_without_a_look(nomad: ObservedNomad) -> None:
    assert nomad.observer.told_by_runner(notice(ONE))
    assert nomad.observe(ONE, TWO)[ONE.key].outcome == GOOD
    assert [path for path in nomad.asked if "/fs/" in path] == ["client/fs/stream/one"]


def test_a_runner_that_left_processes_vouches_for_nothing(nomad: ObservedNomad) -> None:
    assert nomad.observer.told_by_runner(notice(ONE, clean=False))
    assert nomad.observe(ONE, TWO)[ONE.key].outcome == GOOD
    assert [path.split("/")[2] for path in nomad.asked if "/fs/" in path] == ["ls", "stream"]


def test_what_a_process_put_in_its_place_is_looked_at_first(nomad: ObservedNomad) -> None:
    nomad.outcome, nomad.over = encode_outcome(GOOD, key="somebody else's"), {"one"}
    assert nomad.observer.told_by_runner(notice(ONE))
    nomad.observe(ONE, TWO)
    read = [path.split("/")[2] for path in nomad.asked if "/fs/" in path]
    assert read == ["stream", "ls", "stream"]


def test_an_end_that_waits_for_nomads_records_is_read_when_nomad_says_so(
    nomad: ObservedNomad,
) -> None:
    stopped = encode_outcome(Outcome(verdict=Verdict.CANCELLED, exit_code=143), key="the run's own")
    assert nomad.observer.told_by_runner(notice(ONE, outcome=stopped))
    assert nomad.observe(ONE, TWO)[ONE.key].state is RunState.RUNNING
    nomad.over = {"one"}
    assert nomad.observer.told_by_runner(notice(ONE, outcome=stopped))
    assert nomad.observe(ONE, TWO)[ONE.key].state is RunState.RUNNING, "anybody may repeat it"
    nomad.observer.allocation_ended(allocation(ONE))
    assert nomad.observe(ONE, TWO)[ONE.key].state is RunState.ENDED
