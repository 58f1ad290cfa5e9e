"""Approvals among commits that name the same content and approve nothing; real git and signatures."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.ops_repo import authorship
from tests.attacks.several_with_git import X, bury, two_needed
from tests.support.signed_stage import SignedStage

pytestmark = pytest.mark.needs("git", "ssh-keygen")


def test_what_is_pushed_later_buries_no_approval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is cached: the dispatcher was down meanwhile."""
    monkeypatch.setattr(authorship, "MOST_NAMING", 3)
    signed = SignedStage.build(tmp_path)
    two_needed(signed)
    signed.approve("carol", X)
    bury(signed, 4)
    assert signed.outcome().outcome == "approved"
