"""A request to cancel needs the approvals that its action needs, by the policy in force."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from dispatcher.decide.policy import parse_policy
from dispatcher.decide.tiers import Contribution, Item, TierDecision
from dispatcher.decide.world import Candidate
from dispatcher.gate import Answer, Decision, Question
from dispatcher.loop.cancel_requests import ViewLike, judge, subjects
from dispatcher.model.approval_need import Need, Rule
from dispatcher.model.cancel_request import CancelRequest
from dispatcher.model.run import RunKey, Tier
from dispatcher.ops_repo import CancelFile, OpsRepo
from tests.contract.claims import claim

TWO = "[approval.high]\napprovals = 2\n[formulas.hello.approval]\napprovals = 3\n"
FILE = CancelFile(id="a", path="vault/actions/a.cancel.toml", blob="2" * 40, mode=0o100644)
KEY = RunKey(action_id="a", blob="b" * 40)


def view(text: str, **more: Any) -> ViewLike:
    tree = SimpleNamespace(cancels={"a": FILE}, open={"a": None})
    policy = parse_policy(text.encode(), path="policy.toml")
    made = {"tree": tree, "vetted": {}, "unread": (), "invalidated": 0, "policy": policy, **more}
    return cast(ViewLike, SimpleNamespace(**made))


def test_a_run_in_progress_needs_what_the_policy_asks_now() -> None:
    running = {"a": replace(claim(), tier=Tier.HIGH)}
    assert subjects(view(TWO), running)["a"].need.approvals == 3
    assert subjects(view(""), running)["a"].need.plain


def test_an_action_that_waits_needs_what_it_waits_for() -> None:
    high = Contribution(item=Item.FORMULA, name="hello", tier=Tier.HIGH, source="")
    need = Need(rules=(Rule(approvals=2),))
    decision = TierDecision(contributions=(high,), reason="", need=need, formula_need=need)
    vetted = {"a": Candidate(key=KEY, order=0, tier_decision=decision)}
    assert subjects(view("", vetted=vetted), {})["a"].need == need


def test_the_gate_is_asked_for_that_many() -> None:
    asked: list[Question] = []

    class Gate:
        def check(self, question: Question) -> Decision:
            asked.append(question)
            return Decision(answer=Answer.WAITING, reason="1 of 3", gate="fake")

        def invalidate(self, *, keep_approvals: bool = False) -> None:
            """Nothing is cached."""

    class Repo:
        def read(self, blobs: list[str], *, limit: int) -> dict[str, bytes]:
            return {FILE.blob: CancelRequest(action_id="a", blob=KEY.blob).to_toml()}

        def last_change(self, commit: str, path: str) -> None:
            return None

    subject = subjects(view(TWO), {"a": replace(claim(), tier=Tier.HIGH)})["a"]
    judged = judge(subject, repo=cast(OpsRepo, Repo()), gate=Gate(), commit="c" * 40)
    assert judged.state == "waiting"
    assert asked[0].need.approvals == 3
