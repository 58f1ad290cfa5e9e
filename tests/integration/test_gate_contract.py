"""The gates that ask somebody keep the contract of the seam."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.gate import Question
from tests.contract.gate import Case, GateContract
from tests.servers.forgejo import Forgejo
from tests.support.forge_stage import Stage, action_path, action_text
from tests.support.judging import Judge
from tests.support.signed_stage import SignedStage

X, Y = action_path("x"), action_path("y")


def case_of(judge: Judge) -> Case:
    approved, unapproved = judge.question("x"), judge.question("y")
    assert isinstance(approved, Question)
    assert isinstance(unapproved, Question)
    return Case(gate=judge.gate, approved=approved, unapproved=unapproved)


@pytest.mark.needs("git", "ssh-keygen")
class TestSigned(GateContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> Case:
        stage = SignedStage.build(tmp_path)
        stage.sign("trusted")
        stage.push({X: action_text("x")})
        stage.sign(None)
        stage.push({Y: action_text("y")})
        return case_of(stage.judge)


@pytest.mark.needs("git", "forgejo")
class TestForgejo(GateContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, forge: Forgejo, tmp_path_factory: pytest.TempPathFactory) -> Case:
        stage = Stage.build(forge, tmp_path_factory.mktemp("stage"))
        stage.land(stage.alice, stage.propose(stage.alice, {X: action_text("x")}))
        stage.merge(stage.alice, stage.propose(stage.alice, {Y: action_text("y")}, branch="second"))
        return case_of(stage.judge)
