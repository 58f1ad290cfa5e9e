"""What requests to cancel mean for runs and waiting actions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dispatcher.decide.steps import Cancel, Conclude, Launch, Reject, ResolveOrphan, Wait
from dispatcher.decide.world import GateState, Requested
from dispatcher.errors import Dependency
from dispatcher.model.health import WaitingFor
from dispatcher.model.run import Phase
from tests.unit.test_reconcile import ENDED, RUNNING, candidate, claim, decide, only

BLOB = "b" * 40
APPROVED = {"x": Requested(blob=BLOB, gate_state=GateState.APPROVED, by="Ada")}
WAITING = {"x": Requested(blob=BLOB, gate_state=GateState.WAITING)}
UNASKED = {"x": Requested(blob=BLOB)}
OTHER = {"x": Requested(blob="c" * 40, gate_state=GateState.APPROVED)}


@pytest.mark.parametrize("gate_state", [s for s in GateState if s is not GateState.REFUSED])
def test_an_approved_request_forestalls_an_action_however_it_stands(gate_state: GateState) -> None:
    one = candidate(gate_state=gate_state)
    assert only(decide(one, cancels=APPROVED)) == Cancel(key=one.key, claim=None, by="Ada")


@pytest.mark.parametrize("cancels", [WAITING, OTHER, {}])
def test_any_other_request_holds_up_nothing(cancels: dict[str, Requested]) -> None:
    assert isinstance(only(decide(candidate(), cancels=cancels)), Launch)
    assert isinstance(only(decide(claim(), seen={"x": RUNNING}, cancels=cancels)), Wait)


def test_a_request_that_nobody_has_read_keeps_its_action_for_that_moment() -> None:
    wait = only(decide(candidate(), cancels=UNASKED))
    assert isinstance(wait, Wait)
    assert wait.waiting_for is WaitingFor.TURN
    plan = decide(candidate("x"), candidate("y"), cancels=UNASKED, max_in_flight=1)
    assert [type(step) for step in plan.steps] == [Launch], "it takes no place meanwhile"


def test_a_run_is_stopped_once() -> None:
    run = claim()
    step = only(decide(run, seen={"x": RUNNING}, cancels=APPROVED))
    assert step == Cancel(key=run.key, claim=run, by="Ada")
    stopped = replace(run, stopped=True)
    assert isinstance(only(decide(stopped, seen={"x": RUNNING}, cancels=APPROVED)), Wait)


def test_what_has_ended_or_is_unknown_is_not_cancelled() -> None:
    assert isinstance(only(decide(claim(), seen={"x": ENDED}, cancels=APPROVED)), Conclude)
    assert isinstance(only(decide(claim(), seen={}, cancels=APPROVED)), ResolveOrphan)
    ended = decide(claim(phase=Phase.ENDED, result="{}"), cancels=APPROVED)
    assert not any(isinstance(step, Cancel) for step in ended.steps)


def test_a_wrong_file_and_a_spent_id_keep_their_own_reasons() -> None:
    assert isinstance(only(decide(candidate(problem="no"), cancels=APPROVED)), Reject)
    spent = decide(candidate(), claim(phase=Phase.TOMBSTONE, grant=None), cancels=APPROVED)
    assert isinstance(only(spent), Reject)


@pytest.mark.parametrize(
    ("down", "run", "waits"),
    [
        (Dependency.VAULT, False, False),
        (Dependency.FORGE, False, False),
        (Dependency.LEAD, False, True),
        (Dependency.LEDGER, False, True),
        (Dependency.VAULT, True, False),
        (Dependency.LEAD, True, False),
        (Dependency.SCHEDULER, True, True),
    ],
)
def test_it_needs_what_it_writes_to(down: Dependency, *, run: bool, waits: bool) -> None:
    item = claim() if run else candidate()
    found = only(decide(item, seen={"x": RUNNING}, cancels=APPROVED, down={down}))
    assert isinstance(found, Wait if waits else Cancel)
