"""More rows of ``attack_table``: tiers and signatures, on real git and OpenSSH."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.decide.policy import parse_policy
from tests.acceptance.attack_table import shows
from tests.acceptance.test_attacks import ends
from tests.support.checkout import Checkout
from tests.support.forge_stage import action_path, action_text
from tests.support.signed_stage import SignedStage, message_of

pytestmark = pytest.mark.needs("git", "ssh-keygen")

X, Y = action_path("x"), action_path("y")
ONE, TWO = action_text("x"), action_text("x", extra='model = "other"\n')
THEIRS = "formulas/theirs.sh"
POLICY = b"""
[tiers]
greet = "low"
deploy = "low"
[formulas.deploy]
secrets = ["PROD_*"]
[secrets]
"STAGING_*" = "low"
[mounts]
ssh = "high"
"""


@pytest.fixture
def signed(tmp_path: Path) -> SignedStage:
    return SignedStage.build(tmp_path)


@pytest.fixture
def strict(signed: SignedStage) -> SignedStage:
    """With a policy that judges secrets and mounts."""
    signed.judge.policy = parse_policy(POLICY, path="policy.toml")
    signed.judge.secrets = ("PROD_DB_PASSWORD", "STAGING_TOKEN")
    return signed


@shows("secret_under_low")
def test_secret_under_low(strict: SignedStage) -> None:
    strict.push({X: action_text("x", formula="greet", secrets='"STAGING_TOKEN"')})
    assert strict.outcome().outcome == "approved"
    strict.push({X: action_text("x", formula="greet", secrets='"PROD_DB_PASSWORD"')})
    ends("secret_under_low", strict.outcome())


@shows("mount_under_low")
def test_mount_under_low(strict: SignedStage) -> None:
    strict.push({X: action_text("x", formula="greet", extra='mounts = ["ssh"]\n')})
    ends("mount_under_low", strict.outcome())


@shows("trust_of_another_formula")
def test_trust_of_another_formula(strict: SignedStage) -> None:
    strict.push({X: action_text("x", formula="deploy", secrets='"PROD_DB_PASSWORD"')})
    assert strict.outcome().outcome == "approved"
    strict.push({X: action_text("x", formula="greet", secrets='"PROD_DB_PASSWORD"')})
    ends("trust_of_another_formula", strict.outcome())


# --- signatures made elsewhere, and approvals that time has passed --------------------------------


def foreign(signed: SignedStage, folder: Path, *paths: str, here: str) -> Checkout:
    """Another repository, whose owner signs with the same trusted key, and approves for there."""
    other = Checkout.create(folder)
    other.settings = signed.clone.settings
    texts = {X: ONE, THEIRS: "echo theirs\n"}
    other.commit({path: texts[path] for path in paths}, message=message_of(*paths, here=here))
    return other


def merge_foreign(signed: SignedStage, other: Checkout) -> None:
    signed.sign(None)
    signed.clone.git("fetch", "-q", str(other.path), "main")
    signed.clone.merge("FETCH_HEAD", "--allow-unrelated-histories")
    signed.push()


@shows("foreign_repository_merged")
def test_foreign_repository_merged(signed: SignedStage, tmp_path: Path) -> None:
    signed.sign("trusted")
    other = foreign(signed, tmp_path / "other", X, THEIRS, here="acme/staging@main")
    merge_foreign(signed, other)
    ends("foreign_repository_merged", signed.outcome())


@shows("foreign_formula_merged")
def test_foreign_formula_merged(signed: SignedStage, tmp_path: Path) -> None:
    signed.sign("trusted")
    merge_foreign(signed, foreign(signed, tmp_path / "other", THEIRS, here="acme/staging@main"))
    signed.push({X: action_text("x", formula="theirs")})
    ends("foreign_formula_merged", signed.outcome())


@shows("signed_draft")
def test_signed_draft(signed: SignedStage) -> None:
    clone = signed.clone
    signed.sign("trusted")
    clone.branch("draft")
    clone.commit({X: ONE}, message="A draft, do not run")
    clone.switch("main")
    signed.sign(None)
    clone.git("merge", "-q", "--ff-only", "draft")
    signed.push()
    ends("signed_draft", signed.outcome())


@shows("approved_on_another_branch")
def test_approved_on_another_branch(signed: SignedStage) -> None:
    signed.sign("trusted")
    signed.clone.commit({X: ONE}, message=message_of(X, here="acme/ops@staging"))
    signed.push()
    ends("approved_on_another_branch", signed.outcome())


@shows("approval_of_another_action")
def test_approval_of_another_action(signed: SignedStage) -> None:
    signed.sign("trusted")
    both = {X: ONE, Y: action_text("y")}
    signed.clone.commit(both, message=message_of(Y))
    signed.push()
    assert signed.outcome("y").outcome == "approved"
    ends("approval_of_another_action", signed.outcome())


def merged_by_an_approver(signed: SignedStage, *approved: str) -> None:
    """Somebody's branch with x and y, merged with a signature that approves some of it."""
    clone = signed.clone
    clone.branch("topic")
    clone.commit({X: ONE, Y: action_text("y")})
    clone.switch("main")
    signed.sign("trusted")
    clone.merge("topic", "-m", message_of(*approved).partition("\n\n")[2])
    signed.push()
    signed.sign(None)


@shows("approved_merge_brings_more")
def test_approved_merge_brings_more(signed: SignedStage) -> None:
    merged_by_an_approver(signed, Y)
    approved = signed.outcome("y")
    assert approved.outcome == "approved"
    assert approved.decision is not None
    assert approved.decision.approved_by == ("boss@example.test",)
    assert approved.decision.commit == signed.clone.head()
    ends("approved_merge_brings_more", signed.outcome())


@shows("changed_after_approved_merge")
def test_changed_after_approved_merge(signed: SignedStage) -> None:
    merged_by_an_approver(signed, X)
    assert signed.outcome().outcome == "approved"
    signed.push({X: TWO})
    ends("changed_after_approved_merge", signed.outcome())


@shows("approval_cherry_picked")
def test_approval_cherry_picked(signed: SignedStage) -> None:
    clone = signed.clone
    clone.branch("elsewhere")
    signed.sign("trusted")
    clone.commit({X: ONE}, message=message_of(X))
    clone.switch("main")
    signed.sign(None)
    clone.commit({"notes": "1\n"})
    clone.git("cherry-pick", "elsewhere")
    signed.push()
    ends("approval_cherry_picked", signed.outcome())


@shows("approval_in_unsigned_message")
def test_approval_in_unsigned_message(signed: SignedStage) -> None:
    signed.clone.commit({X: ONE}, message=message_of(X))
    signed.push()
    ends("approval_in_unsigned_message", signed.outcome())


def approved_and_withdrawn(signed: SignedStage) -> tuple[str, str]:
    """The commits before and of an approval that was withdrawn since, as the dispatcher saw."""
    before = signed.clone.head()
    signed.sign("trusted")
    approval = signed.push({X: ONE})
    assert signed.outcome().outcome == "approved"
    signed.noticed()
    signed.clone.git("rm", "-q", X)
    signed.clone.commit(message="Withdraw x")
    signed.push()
    assert signed.outcome().outcome == "absent"
    signed.noticed()
    signed.sign(None)
    return before, approval


@shows("withdrawal_dropped")
def test_withdrawal_dropped(signed: SignedStage) -> None:
    _, approval = approved_and_withdrawn(signed)
    signed.force_push(approval)
    signed.judge.gate.invalidate()
    ends("withdrawal_dropped", signed.outcome())  # before the dispatcher records anything,
    signed.noticed()
    signed.push({"notes": "1\n"})
    ends("withdrawal_dropped", signed.outcome())  # and when the old head is forgotten
    signed.sign("trusted")
    signed.push({X: TWO})
    assert signed.outcome().outcome == "approved"


@shows("withdrawal_dropped_in_two_steps")
def test_withdrawal_dropped_in_two_steps(signed: SignedStage) -> None:
    before, approval = approved_and_withdrawn(signed)
    signed.force_push(before)
    assert signed.outcome().outcome == "absent"
    signed.noticed()
    signed.force_push(approval)
    ends("withdrawal_dropped_in_two_steps", signed.outcome())


@shows("older_formula_restored")
def test_older_formula_restored(signed: SignedStage) -> None:
    signed.sign("trusted")
    older = signed.push({THEIRS: "echo older\n"})
    signed.push({THEIRS: "echo mended\n"})
    signed.noticed()
    signed.sign(None)
    signed.force_push(older)
    signed.push({X: action_text("x", formula="theirs")})
    ends("older_formula_restored", signed.outcome())
