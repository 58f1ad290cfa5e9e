"""Scenes with git alone, where the policy asks for two approvals: one approver wants to be enough."""

from __future__ import annotations

from dispatcher.decide.policy import parse_policy
from tests.support.forge_stage import action_path, action_text
from tests.support.judging import Found
from tests.support.signed_stage import SignedStage, message_of

X, Y = action_path("x"), action_path("y")
ONE, TWO = action_text("x"), action_text("x", extra='model = "other"\n')
TWO_APPROVALS = "[tiers]\ndeploy = 'high'\n[approval.high]\napprovals = 2\n"


def two_needed(signed: SignedStage, more: str = "") -> None:
    """A policy by which two have to approve, and an action that ``trusted`` approves."""
    rules(signed, TWO_APPROVALS + more)
    signed.sign("trusted")
    signed.push({X: ONE})
    signed.sign(None)
    assert "1 of 2 approvals" in signed.outcome().reason


def rules(signed: SignedStage, text: str) -> None:
    signed.judge.policy = parse_policy(text.encode(), path="policy.toml")


def approves_twice(signed: SignedStage) -> Found:
    two_needed(signed)
    signed.approve("trusted", X)
    signed.approve("trusted", X)
    return signed.outcome()


def second_key(signed: SignedStage) -> Found:
    two_needed(signed)
    signed.approve("spare", X)
    return signed.outcome()


def second_principal(signed: SignedStage) -> Found:
    two_needed(signed, "[people]\nboss = ['boss@example.test', 'carol@example.test']\n")
    signed.approve("carol", X)
    return signed.outcome()


def one_key_two_names(signed: SignedStage) -> Found:
    """The list gives the key to two principals; which of them signs is ssh-keygen's choice."""
    assert signed.signers.allowed_signers is not None
    allowed = signed.signers.allowed_signers
    two_needed(signed)
    lines = allowed.read_text()
    allowed.write_text(f"also@example.test {signed.public('trusted')}\n{lines}")
    signed.judge.gate.invalidate()
    signed.approve("trusted", X)
    return signed.outcome()


def unsigned_approval(signed: SignedStage) -> Found:
    two_needed(signed)
    signed.approve(None, X)
    signed.approve("stranger", X)
    signed.approve("expired", X)
    signed.approve("revoked", X)
    return signed.outcome()


def approval_without_the_content(signed: SignedStage) -> Found:
    two_needed(signed)
    signed.sign("carol")
    signed.clone.commit(None, "--allow-empty", message=message_of(X))
    signed.push()
    return signed.outcome()


def approval_in_the_text(signed: SignedStage) -> Found:
    two_needed(signed)
    signed.sign("carol")
    line = f"{message_of(X)} {signed.clone.blob(X)}"
    signed.clone.commit(None, "--allow-empty", message=f"{line}\n\nI do not approve the above")
    signed.push()
    return signed.outcome()


def approval_for_another_repository(signed: SignedStage) -> Found:
    two_needed(signed)
    signed.approve("carol", X, here="acme/staging@main")
    signed.approve("carol", X, here="acme/ops@draft")
    return signed.outcome()


def approval_of_another_action(signed: SignedStage) -> Found:
    two_needed(signed)
    signed.push({Y: action_text("y")})
    signed.approve("carol", Y, blob=signed.clone.blob(X))
    signed.approve("carol", Y)
    return signed.outcome()


def changed_between_the_approvals(signed: SignedStage) -> Found:
    two_needed(signed)
    approval = signed.approve("carol", X)
    assert signed.outcome().outcome == "approved"
    signed.sign("trusted")
    signed.push({X: TWO})
    signed.sign("carol")
    signed.clone.git("cherry-pick", "--allow-empty", approval)  # rebased: her name, another content
    signed.push()
    return signed.outcome()


def changed_and_changed_back(signed: SignedStage) -> Found:
    two_needed(signed)
    signed.approve("carol", X)
    signed.sign("trusted")
    signed.push({X: TWO})
    signed.push({X: ONE})
    return signed.outcome()


def approved_beside_the_last_change(signed: SignedStage) -> Found:
    """The approval was given before, and is merged only after the content came back."""
    two_needed(signed)
    signed.clone.branch("topic")
    signed.sign("carol")
    signed.clone.commit(None, "--allow-empty", message=f"{message_of(X)} {signed.clone.blob(X)}")
    signed.clone.switch("main")
    signed.sign("trusted")
    signed.push({X: TWO})
    signed.push({X: ONE})
    signed.sign(None)
    signed.clone.merge("topic", "-s", "ours")
    signed.push()
    return signed.outcome()


def withdrawn_and_brought_back(signed: SignedStage) -> Found:
    rules(signed, TWO_APPROVALS)
    signed.push({X: ONE})
    signed.approve("carol", X)
    approved = signed.approve("trusted", X)
    assert signed.outcome().outcome == "approved"
    signed.noticed()
    signed.clone.git("rm", "-q", X)
    signed.clone.commit(message="Withdraw x")
    signed.push()
    signed.noticed()
    signed.force_push(approved)
    signed.noticed()
    signed.judge.gate.invalidate()
    return signed.outcome()


def author_in_disguise(signed: SignedStage) -> Found:
    """A commit may name any author; so an unsigned one proves none."""
    rules(signed, "[tiers]\ndeploy = 'high'\n[approval.high]\nauthor_may_sign = false\n")
    signed.clone.author, signed.clone.email = "mallory", "mallory@example.test"
    signed.push({X: ONE})
    signed.clone.author, signed.clone.email = "boss", "boss@example.test"
    signed.approve("trusted", X)
    return signed.outcome()


def author_asks_for_another_tier(signed: SignedStage) -> Found:
    rules(signed, "[tiers]\ndeploy = 'medium'\n[approval.medium]\napprovals = 2\n[approval.high]\n")
    signed.sign("trusted")
    signed.push({X: action_text("x", extra='blast_radius = "high"\n')})
    return signed.outcome()


def not_of_the_team(signed: SignedStage) -> Found:
    team = "[formulas.deploy.approval]\napprovals = 1\nteams = ['db']\n[teams]\ndb = ['dave@example.test']\n"
    two_needed(signed, team)
    signed.approve("carol", X)
    return signed.outcome()


def bury(signed: SignedStage, count: int, *, key: str | None = None) -> None:
    """Push commits that name the content, signed with this key, or not."""
    message = f"{message_of(X)} {signed.clone.blob(X)}"
    signed.sign(key)
    for _ in range(count):
        signed.clone.commit(None, "--allow-empty", message=message)
    signed.sign(None)
    signed.push()
