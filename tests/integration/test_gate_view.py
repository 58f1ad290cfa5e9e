"""An approval holds for the exact action and formula it was given for, also while the run waits."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from dispatcher.decide.world import GateState
from dispatcher.gate.base import Answer
from dispatcher.loop.components import Components
from dispatcher.loop.formulas import FormulaStore
from dispatcher.loop.intake import Intake
from dispatcher.loop.view import View
from tests.support.forge_stage import action_path, action_text
from tests.support.judging import POLICY
from tests.support.signed_stage import SignedStage

pytestmark = pytest.mark.needs("git", "ssh-keygen")

X, THEIRS = action_path("x"), "formulas/theirs.sh"


@pytest.fixture
def signed(tmp_path: Path) -> SignedStage:
    stage = SignedStage.build(tmp_path)
    stage.sign("trusted")
    return stage


@pytest.fixture
def view(signed: SignedStage) -> View:
    judge = signed.judge
    formula_store = FormulaStore(folder=judge.folder, repo=judge.repo)
    intake = Intake(
        repo=judge.repo,
        formula_store=formula_store,
        policy=POLICY,
        mounts=frozenset(),
        limit=65_536,
    )
    return View(
        components=cast(Components, SimpleNamespace(repo=judge.repo, gate=judge.gate)),
        intake=intake,
    )


def look(view: View, signed: SignedStage) -> GateState:
    view.advance(signed.judge.repo.fetch().commit)
    view.vet()
    view.learn_secrets(frozenset(), list(view.vetted))
    view.vet()
    return view.candidates()["x"].gate_state


def ask(view: View, signed: SignedStage) -> GateState:
    question = view.question("x")
    view.learn(question, signed.judge.gate.check(question), asked_at=time.monotonic())
    return view.candidates()["x"].gate_state


def test_a_formula_swapped_while_the_approved_run_waits_is_asked_about(
    view: View, signed: SignedStage
) -> None:
    signed.push({X: action_text("x", formula="theirs"), THEIRS: "echo good\n"})
    assert look(view, signed) is GateState.UNASKED
    assert ask(view, signed) is GateState.APPROVED
    signed.push({"notes": "1\n"})
    assert look(view, signed) is GateState.APPROVED  # nothing of it changed
    signed.sign(None)
    signed.push({THEIRS: "echo evil\n"})
    assert look(view, signed) is GateState.UNASKED
    assert ask(view, signed) is GateState.WAITING


def test_an_answer_about_the_formula_of_before_is_dropped(view: View, signed: SignedStage) -> None:
    signed.push({X: action_text("x", formula="theirs"), THEIRS: "echo good\n"})
    look(view, signed)
    question = view.question("x")
    decision = signed.judge.gate.check(question)  # under way while the formula changes
    signed.sign(None)
    signed.push({THEIRS: "echo evil\n"})
    look(view, signed)
    view.learn(question, decision, asked_at=time.monotonic())
    assert view.candidates()["x"].gate_state is GateState.UNASKED


def test_a_waiting_action_is_asked_about_when_its_formula_is_signed(
    view: View, signed: SignedStage
) -> None:
    signed.sign(None)
    signed.push({X: action_text("x", formula="theirs"), THEIRS: "echo one\n"})
    look(view, signed)
    assert ask(view, signed) is GateState.WAITING
    signed.sign("trusted")
    signed.push({THEIRS: "echo two\n"})
    assert look(view, signed) is GateState.UNASKED
    assert ask(view, signed) is GateState.APPROVED


def test_an_answer_from_before_a_ring_is_asked_for_again_at_once(
    view: View, signed: SignedStage
) -> None:
    signed.sign(None)
    signed.push({X: action_text("x", formula="theirs"), THEIRS: "echo one\n"})
    look(view, signed)
    question, asked_at = view.question("x"), time.monotonic()
    decision = signed.judge.gate.check(question)  # under way while a webhook rings
    view.invalidate_answers()
    view.learn(question, decision, asked_at=asked_at)
    assert view.candidates()["x"].gate_state is GateState.UNASKED
    assert ask(view, signed) is GateState.WAITING
    assert view.candidates()["x"].gate_state is GateState.WAITING


def test_an_approval_from_before_a_ring_holds(view: View, signed: SignedStage) -> None:
    signed.push({X: action_text("x", formula="theirs"), THEIRS: "echo one\n"})
    look(view, signed)
    question, asked_at = view.question("x"), time.monotonic()
    decision = signed.judge.gate.check(question)
    view.invalidate_answers()
    view.learn(question, decision, asked_at=asked_at)
    assert view.candidates()["x"].gate_state is GateState.APPROVED


def test_an_approval_from_before_a_rewrite_is_dropped(view: View, signed: SignedStage) -> None:
    signed.push({X: action_text("x", formula="theirs"), THEIRS: "echo one\n"})
    look(view, signed)
    question, asked_at = view.question("x"), time.monotonic()
    decision = signed.judge.gate.check(question)
    view.rewritten()
    view.learn(question, decision, asked_at=asked_at)
    assert view.candidates()["x"].gate_state is GateState.UNASKED


def test_an_approval_from_before_a_withdrawal_is_dropped(view: View, signed: SignedStage) -> None:
    """Brought back byte for byte, by anybody, it is another arrival."""
    text = action_text("x", formula="theirs")
    signed.push({X: text, THEIRS: "echo one\n"})
    look(view, signed)
    question, asked_at = view.question("x"), time.monotonic()
    decision = signed.judge.gate.check(question)  # under way while the action goes and comes back
    assert decision.answer is Answer.APPROVED
    signed.clone.git("rm", "-q", X)
    signed.clone.commit()
    signed.push()
    view.advance(signed.judge.repo.fetch().commit)
    signed.sign(None)
    signed.push({X: text})
    look(view, signed)
    view.learn(question, decision, asked_at=asked_at)
    assert view.candidates()["x"].gate_state is GateState.UNASKED
