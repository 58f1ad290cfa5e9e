"""Gate ``forgejo`` on a real forge, where the policy asks for two approvals, or for teams."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dispatcher.decide.policy import parse_policy
from tests.servers.forgejo import Account, Forgejo
from tests.support.forge_stage import Stage, action_path, action_text

pytestmark = pytest.mark.needs("forgejo", "git")

X = action_path("x")
_orgs = itertools.count(1)


@pytest.fixture
def stage(forge: Forgejo, tmp_path: Path) -> Stage:
    return Stage.build(forge, tmp_path)


def rule(stage: Stage, text: str) -> None:
    policy = f"[tiers]\ndeploy = 'high'\n{text}"
    stage.judge.policy = parse_policy(policy.encode(), path="policy.toml")


def team(stage: Stage, *members: Account) -> str:
    """A team of an organization that the dispatcher's account owns; answers ``org/team``."""
    org = f"several{next(_orgs)}"
    stage.owner.call("POST", "/orgs", {"username": org})
    wanted = {"name": "release", "permission": "read", "units": ["repo.code"]}
    number = stage.owner.call("POST", f"/orgs/{org}/teams", wanted)["id"]
    for member in members:
        stage.owner.call("PUT", f"/teams/{number}/members/{member.login}")
    return f"{org}/release"


def by(stage: Stage) -> tuple[str, ...]:
    found = stage.outcome()
    assert found.outcome == "approved", found.reason
    assert found.decision is not None
    return found.decision.approved_by


def waits(stage: Stage, *words: str) -> None:
    found = stage.outcome()
    assert found.outcome == "waiting", found.reason
    for each in words:
        assert each in found.reason


def test_two_have_to_approve_and_one_may_take_it_back(stage: Stage) -> None:
    rule(stage, "[approval.high]\napprovals = 2\n")
    number = stage.propose(stage.alice, {X: action_text("x")})
    stage.review(stage.boss, number)
    stage.review(stage.carol, number)
    stage.merge(stage.alice, number)
    waits(stage, f"{stage.carol.login} approved it but may not", "1 of 2", "an administrator")
    stage.review(stage.boss, number)
    stage.judge.gate.invalidate()
    waits(stage, f"1 of 2 approvals ([approval.high]), by {stage.boss.login}")
    stage.review(stage.owner, number)
    stage.judge.gate.invalidate()
    assert by(stage) == (stage.boss.login, stage.owner.login)
    stage.next_second()
    stage.review(stage.boss, number, "REQUEST_CHANGES")
    stage.judge.gate.invalidate()
    waits(stage, "rejected it", f"by {stage.owner.login}")
    same = f"[people]\nada = ['{stage.boss.login}', '{stage.owner.login}']\n"
    stage.next_second()
    stage.review(stage.boss, number)
    stage.judge.gate.invalidate()
    assert len(by(stage)) == 2
    rule(stage, f"[approval.high]\napprovals = 2\n{same}")
    waits(stage, "1 of 2 approvals")


def test_the_members_of_a_team_are_asked_from_the_forge(stage: Stage) -> None:
    name = team(stage, stage.carol, stage.alice)
    rule(stage, f"[approval.high]\nteams = ['{name}']\n")
    number = stage.propose(stage.alice, {X: action_text("x")})
    stage.land(stage.alice, number)
    waits(
        stage,
        f"{stage.boss.login} approved it but may not approve actions",
        f"0 of 1 approvals ([approval.high]); needs 1 more, from {stage.carol.login}, who must",
    )
    stage.review(stage.carol, number)
    stage.judge.gate.invalidate()
    assert by(stage) == (stage.carol.login,)
    assert {u.login for u in stage.api.team_members(name)} >= {stage.carol.login}
