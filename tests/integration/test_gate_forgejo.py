"""Gate ``forgejo`` on a real forge: what is approved however it was merged."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.forge import ForgeApi
from dispatcher.gate import Answer, Question
from dispatcher.gate.approvers import Approvers
from dispatcher.gate.forgejo import ForgejoGate
from dispatcher.settings import ForgeSettings
from tests.servers.forgejo import Forgejo
from tests.support.forge_stage import Stage, action_path, action_text

pytestmark = pytest.mark.needs("forgejo", "git")

X = action_path("x")


@pytest.fixture
def stage(forge: Forgejo, tmp_path: Path) -> Stage:
    return Stage.build(forge, tmp_path)


@pytest.mark.parametrize(
    "style", ["merge", "squash", "rebase", "rebase-merge", "fast-forward-only"]
)
def test_a_request_approved_by_an_administrator(stage: Stage, style: str) -> None:
    number = stage.propose(stage.alice, {X: action_text("x")})
    stage.push_more(stage.alice, {"notes": "1\n"}, branch="topic")
    stage.land(stage.alice, number, style)
    found = stage.outcome()
    assert found.outcome == "approved", found.reason
    assert found.decision is not None
    assert found.decision.approved_by == (stage.boss.login,)
    assert found.decision.request == number
    assert found.decision.commit == stage.merged_head(number)


def test_a_decision_costs_six_calls(stage: Stage) -> None:
    """The request, its reviews, its commits, two pages of its time line, and a permission."""
    number = stage.propose(stage.alice, {X: action_text("x")})
    stage.land(stage.alice, number)
    question = stage.judge.question("x")
    assert isinstance(question, Question)
    api = ForgeApi(
        ForgeSettings(url=stage.server.url, repository=stage.repository), token=stage.owner.token
    )
    gate = ForgejoGate(forge=api, history=stage.judge.repo, branch="main", approvers=Approvers())
    assert gate.check(question).answer is Answer.APPROVED
    assert api.calls == 6
    api.close()


@pytest.mark.parametrize("style", ["merge", "squash", "rebase", "rebase-merge"])
def test_the_main_branch_may_have_moved_on(stage: Stage, style: str) -> None:
    number = stage.propose(stage.alice, {X: action_text("x")})
    stage.push_more(stage.alice, {"notes": "1\n"}, branch="topic")
    stage.push_main(stage.alice, {"elsewhere": "1\n"})
    stage.land(stage.alice, number, style)
    stage.push_main(stage.alice, {"elsewhere": "2\n"})
    found = stage.outcome()
    assert found.outcome == "approved", found.reason


def test_a_site_administrator_may_approve(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: action_text("x")})
    stage.review(stage.server.admin, number)
    stage.merge(stage.alice, number)
    found = stage.outcome()
    assert found.decision is not None
    assert found.decision.approved_by == (stage.server.admin.login,)
