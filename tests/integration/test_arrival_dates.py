"""When an approved content came to the branch: no later than the dispatcher saw it; real git."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.ops_repo import arrival_dates
from tests.attacks.several_with_git import ONE, TWO_APPROVALS, X, rules
from tests.support.signed_stage import SignedStage, message_of

pytestmark = pytest.mark.needs("git", "ssh-keygen")

WEEK = 7 * 86_400


def landed_at(signed: SignedStage) -> float:
    decision = signed.outcome().decision
    assert decision is not None
    assert decision.answer == "approved", decision.reason
    return decision.landed_at


@pytest.fixture
def week_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def go() -> None:
        later = time.time() + 2 * WEEK
        monkeypatch.setattr(arrival_dates, "now", lambda: later)

    return go


@pytest.mark.parametrize("policy", ["[tiers]\ndeploy = 'high'\n", TWO_APPROVALS])
def test_a_date_in_the_future_makes_no_approval_younger(
    tmp_path: Path, week_later: Callable[[], None], policy: str
) -> None:
    """The merge is signed and dated by its committer, and approves a content for longer than it may."""
    began = time.time()
    signed = SignedStage.build(tmp_path)
    rules(signed, policy)
    signed.clone.branch("topic")
    signed.sign("carol")
    signed.push({X: ONE})
    signed.clone.at = int(began) + WEEK
    signed.sign("trusted")
    signed.clone.switch("main")
    signed.clone.git("merge", "-q", "--no-ff", "topic", "-m", message_of(X))
    signed.push()
    assert began <= landed_at(signed) <= time.time()
    week_later()
    signed.judge.repo.close()
    signed.judge.gate.invalidate()
    assert began <= landed_at(signed) <= time.time(), "by what was seen then, also after a restart"


def test_a_date_in_the_past_counts(tmp_path: Path) -> None:
    signed = SignedStage.build(tmp_path)
    signed.sign("trusted")
    signed.push({X: ONE})
    assert landed_at(signed) == float(signed.clone.git("log", "-1", "--format=%ct"))
