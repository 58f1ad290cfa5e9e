"""Gate ``forgejo`` where the policy asks for more than one approval, or for certain people."""

from __future__ import annotations

import pytest

from dispatcher.forge.records import Review
from dispatcher.gate import Answer, Decision
from dispatcher.gate.approvers import Approvers
from dispatcher.model.approval_need import Need, People, Rule, Team
from tests.fakes.forge import FakeForge, Scene, review

TWO = Need(rules=(Rule(approvals=2, source="[approval.high]"),))
ADMINS = {"boss": "admin", "chief": "owner", "carol": "write"}


def forge(*names: str, **changed: object) -> FakeForge:
    said = [review(name, number=n) for n, name in enumerate(names, start=1)]
    return FakeForge(said=said, **{"permissions": ADMINS, **changed})  # type: ignore[arg-type]


def ask(made: FakeForge, need: Need, approvers: Approvers | None = None) -> Decision:
    return Scene(made, approvers=approvers or Approvers()).ask(need=need)


def waits(decision: Decision, *words: str) -> None:
    assert decision.answer is Answer.WAITING
    assert decision.approved_by == ()
    for each in words:
        assert each in decision.reason


def test_two_accounts_have_to_approve() -> None:
    waits(
        ask(forge("boss"), TWO),
        "without the approvals it needs: 1 of 2 approvals ([approval.high]), by boss; "
        "needs 1 more, from an administrator, who must not have contributed to it",
    )
    waits(ask(forge("boss", "carol"), TWO), "carol approved it but may not approve", "1 of 2")
    assert ask(forge("boss", "chief"), TWO).approved_by == ("boss", "chief")


def test_nobody_reviewed_it() -> None:
    named = Approvers(logins=("boss", "Alice", "carol"))
    waits(ask(forge(), TWO, named), "nobody reviewed it; 0 of 2", "from boss or carol, who")


def test_the_same_account_twice_is_one() -> None:
    waits(ask(forge("boss", "boss"), TWO), "1 of 2")


def test_two_accounts_of_one_person_are_one() -> None:
    need = Need(rules=TWO.rules, people=People(named=(("Ada", ("boss", "chief")),)))
    waits(ask(forge("boss", "chief"), need), "1 of 2 approvals ([approval.high]), by boss")


@pytest.mark.parametrize("identity", ["alice", "alice@example.test"])
def test_another_account_of_an_author_is_no_reviewer(identity: str) -> None:
    need = Need(
        people=People(
            named=(("alice", ("boss", identity)),)
            if identity != "alice"
            else (("alice", ("boss",)),)
        )
    )
    waits(ask(forge("boss"), need), "boss")
    assert ask(forge("boss"), Need()).approved_by == ("boss",)


def test_an_approval_that_is_withdrawn_is_missed() -> None:
    rejected = review("chief", number=3).model_copy(update={"state": "REQUEST_CHANGES"})
    made = forge("boss", "chief")
    made.said = [*made.said, rejected]
    waits(ask(made, TWO), "chief rejected it; 1 of 2")
    dismissed: Review = review("chief", number=2).model_copy(update={"dismissed": True})
    made.said = [review("boss"), dismissed]
    waits(ask(made, TWO), "dismissed")


def test_members_of_the_teams_count_and_nobody_else() -> None:
    rule = Rule(approvals=2, teams=(Team(name="acme/sre"), Team(name="db", members=("Dora",))))
    need = Need(rules=(rule,))
    members = {"acme/sre": {"sam", "alice", "sue"}}
    waits(
        ask(forge("boss", "sam", members=members), need),
        "boss approved it but may not approve actions; 1 of 2 approvals, by sam",
        "needs 1 more, from Dora or sue, who must not",
    )
    assert ask(forge("sam", "dora", members=members), need).approved_by == ("sam", "dora")
    waits(ask(forge("sam", "sam", members=members), need), "1 of 2")


def test_tier_and_formula_are_satisfied_each() -> None:
    need = Need(rules=(*TWO.rules, Rule(teams=(Team(name="acme/db"),), source="[formulas.x]")))
    members = {"acme/db": {"dora"}}
    waits(ask(forge("boss", "chief", members=members), need), "0 of 1 approvals ([formulas.x])")
    waits(ask(forge("boss", "dora", members=members), need), "1 of 2 approvals ([approval.high])")
    decision = ask(forge("boss", "dora", "chief", members=members), need)
    assert decision.approved_by == ("boss", "dora", "chief")


def test_an_answer_for_one_need_is_none_for_another() -> None:
    scene = Scene(forge("boss"))
    assert scene.ask().answer is Answer.APPROVED
    waits(scene.ask(need=TWO), "1 of 2")
    assert scene.ask().answer is Answer.APPROVED
