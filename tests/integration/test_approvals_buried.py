"""Approvals among commits that name the same content and approve nothing; real git and signatures.

Nothing of it is cached: the dispatcher was down meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.gate import approval_commits, signed
from dispatcher.ops_repo import authorship
from tests.attacks.several_with_git import X, bury, two_needed
from tests.support.signed_stage import SignedStage

pytestmark = pytest.mark.needs("git", "ssh-keygen")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SignedStage:
    """An action that lacks one approval, where three commits are considered."""
    for module, limit in (
        (authorship, "MOST_NAMING"),
        (approval_commits, "LIMIT"),
        (signed, "LIMIT"),
    ):
        monkeypatch.setattr(module, limit, 3)
    stage = SignedStage.build(tmp_path)
    two_needed(stage)
    return stage


def test_what_is_pushed_later_buries_no_approval(stage: SignedStage) -> None:
    stage.approve("carol", X)
    bury(stage, 4, key="stranger")
    assert stage.outcome().outcome == "approved"


def test_what_is_not_signed_leaves_room_for_approvals(stage: SignedStage) -> None:
    bury(stage, 4)
    stage.approve("carol", X)
    assert stage.outcome().outcome == "approved"


def test_a_merge_of_old_dates_buries_no_approval(stage: SignedStage) -> None:
    """The order is that of arrival: a committer chooses the date."""
    stage.clone.branch("topic")
    now, stage.clone.at = stage.clone.at, 100_000_000
    bury(stage, 4, key="stranger")
    stage.clone.at = now
    stage.clone.switch("main")
    stage.approve("carol", X)
    stage.clone.merge("topic")
    stage.push()
    assert stage.outcome().outcome == "approved"
