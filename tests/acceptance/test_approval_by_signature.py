"""How a person approves with gate ``signed``, as the docs and our own messages say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import ENVIRONMENT
from tests.support.forge_stage import action_path, action_text
from tests.support.judging import Found
from tests.support.signed_stage import SignedStage, message_of

pytestmark = pytest.mark.needs("git", "ssh-keygen")

X, THEIRS = action_path("x"), "formulas/theirs.sh"
ONE = action_text("x")


@pytest.fixture
def signed(tmp_path: Path) -> SignedStage:
    return SignedStage.build(tmp_path)


def approved(found: Found) -> bool:
    return found.decision is not None and found.decision.approved_by == ("boss@example.test",)


def pasted(signed: SignedStage, found: Found) -> None:
    """Run the command that a reason shows, in a shell, as a person who has a key."""
    command = found.reason.partition("to approve it: ")[2]
    config = {**signed.clone.settings, "user.name": "Boss", "user.email": "boss@example.test"}
    numbered = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        numbered |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=signed.clone.path,
        env={**os.environ, **ENVIRONMENT, **numbered},
        check=True,
    )


def test_the_command_that_the_reason_shows_approves_action_and_formula(signed: SignedStage) -> None:
    signed.push({X: action_text("x", formula="theirs"), THEIRS: "echo hello"})
    waiting = signed.outcome()
    assert waiting.reason.startswith("formula formulas/theirs.sh needs approval at tier high")
    signed.sign("trusted")
    pasted(signed, waiting)
    assert signed.outcome().outcome == "approved"
    signed.sign(None)
    signed.push({X: ONE})
    waiting = signed.outcome()
    signed.sign("trusted")
    pasted(signed, waiting)
    assert approved(signed.outcome())


def test_an_approvers_own_merge_approves(signed: SignedStage) -> None:
    clone = signed.clone
    clone.branch("topic")
    clone.commit({X: ONE})
    clone.switch("main")
    clone.commit({"notes": "1\n"})
    signed.sign("trusted")
    clone.merge("topic", "-m", message_of(X).partition("\n\n")[2])
    merge = signed.push()
    found = signed.outcome()
    assert approved(found)
    assert found.decision is not None
    assert (found.decision.commit, found.decision.landed) == (merge, merge)


def test_an_approval_in_the_last_change_survives_anybodys_merge(signed: SignedStage) -> None:
    clone = signed.clone
    signed.sign("trusted")
    clone.branch("topic")
    clone.commit({X: ONE}, message=message_of(X))
    clone.switch("main")
    signed.sign(None)
    clone.merge("topic")
    signed.push()
    assert approved(signed.outcome())


def test_a_commit_that_is_amended_with_the_line_approves(signed: SignedStage) -> None:
    signed.push({X: ONE})
    signed.noticed()
    assert signed.outcome().outcome == "waiting"
    signed.sign("trusted")
    line = message_of(X).rpartition("\n")[2]
    signed.clone.git("commit", "-q", "--amend", "-S", "--no-edit", "--trailer", line)
    signed.force_push(signed.clone.head())
    signed.noticed()
    assert approved(signed.outcome())


def test_one_commit_approves_several(signed: SignedStage) -> None:
    signed.sign("trusted")
    signed.push({X: action_text("x", formula="theirs"), THEIRS: "echo hello\n"})
    assert signed.outcome().outcome == "approved"
    signed.push({X: ONE, action_path("y"): action_text("y")})
    assert approved(signed.outcome("x"))
    assert approved(signed.outcome("y"))
