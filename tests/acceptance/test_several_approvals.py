"""Gate ``signed`` where the policy asks for more than one approval, or for certain people."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.decide.policy import parse_policy
from tests.acceptance.test_approval_by_signature import pasted
from tests.support.forge_stage import action_path, action_text
from tests.support.judging import Found
from tests.support.signed_stage import SignedStage, message_of

pytestmark = pytest.mark.needs("git", "ssh-keygen")

X, THEIRS = action_path("x"), "formulas/theirs.sh"
ONE, TWO = action_text("x"), action_text("x", extra='model = "other"\n')
BOSS, CAROL, DAVE = "boss@example.test", "carol@example.test", "dave@example.test"

TIERS = '[tiers]\ngreet = "low"\ndeploy = "high"\n'
BOTH = "[approval.high]\napprovals = 2\n"
OTHERS = f"{BOTH}author_may_sign = false\n"


@pytest.fixture
def signed(tmp_path: Path) -> SignedStage:
    return SignedStage.build(tmp_path)


def rule(signed: SignedStage, text: str) -> None:
    signed.judge.policy = parse_policy((TIERS + text).encode(), path="policy.toml")


def by(found: Found) -> tuple[str, ...]:
    return found.decision.approved_by if found.decision else ()


def waits(signed: SignedStage, *words: str) -> Found:
    found = signed.outcome()
    assert found.outcome == "waiting", found.reason
    assert by(found) == ()
    for each in words:
        assert each in found.reason
    return found


def test_a_second_person_approves_what_the_first_did_without_changing_it(
    signed: SignedStage,
) -> None:
    rule(signed, BOTH)
    signed.sign("trusted")
    signed.push({X: ONE})
    found = waits(
        signed,
        f"1 of 2 approvals ([approval.high]), by {BOSS}; needs 1 more, from {CAROL} or {DAVE}",
    )
    before = signed.clone.blob(X)
    signed.sign("carol")
    (signed.clone.path / "notes").write_text("not to be committed\n")
    signed.clone.git("add", "notes")
    pasted(signed, found)
    found = signed.outcome()
    assert by(found) == (BOSS, CAROL), found.reason
    assert found.reason.endswith(f"is approved by {BOSS}, {CAROL}")
    signed.clone.git("fetch", "-q", "origin")
    assert signed.clone.blob(X, "origin/main") == before
    assert "notes" not in signed.clone.git("ls-tree", "--name-only", "origin/main").split()


def test_two_who_never_touched_the_file_approve_it(signed: SignedStage) -> None:
    rule(signed, OTHERS)
    signed.push({X: ONE})
    waits(signed, "0 of 3 approvals", "no trusted key signed the last change")
    for key in ("trusted", "carol"):
        signed.approve(key, X)
        signed.sign(None)
        signed.push({"notes": f"{key}\n"})
    waits(signed, f"2 of 3 approvals ([approval.high]), by {BOSS}, {CAROL}", f"from {DAVE}")
    signed.approve("dave", X)
    assert by(signed.outcome()) == (BOSS, CAROL, DAVE)


def test_a_change_and_the_merge_that_brought_it_are_two(signed: SignedStage) -> None:
    rule(signed, BOTH)
    clone = signed.clone
    clone.branch("topic")
    signed.sign("carol")
    clone.commit({X: ONE}, message=message_of(X))
    clone.switch("main")
    signed.sign("trusted")
    clone.merge("topic", "-m", message_of(X).partition("\n\n")[2])
    signed.push()
    assert by(signed.outcome()) == (CAROL, BOSS)


def test_one_approval_is_enough_without_the_keys_and_an_empty_commit_is_none(
    signed: SignedStage,
) -> None:
    """As before there were such keys."""
    signed.push({X: ONE})
    signed.approve("trusted", X)
    assert "# approved" in waits(signed, "is not signed").reason
    signed.sign("trusted")
    signed.push({X: TWO})
    assert by(signed.outcome()) == (BOSS,)


def test_a_requirement_that_is_raised_while_an_action_waits_counts(signed: SignedStage) -> None:
    signed.sign("trusted")
    signed.push({X: ONE})
    assert by(signed.outcome()) == (BOSS,)
    rule(signed, BOTH)
    waits(signed, "1 of 2")
    rule(signed, "")
    assert by(signed.outcome()) == (BOSS,)


def test_only_the_team_counts_and_the_list_of_keys_still_does(signed: SignedStage) -> None:
    rule(
        signed,
        f"[approval.high]\nteams = ['release']\n[teams]\nrelease = ['carol', '{DAVE}', 'nobody']\n"
        f"[people]\ncarol = ['{CAROL}']\n",
    )
    signed.sign("trusted")
    signed.push({X: ONE})
    waits(signed, f"0 of 1 approvals ([approval.high]); needs 1 more, from {CAROL} or {DAVE}")
    signed.approve("carol", X)
    assert by(signed.outcome()) == (CAROL,)


def test_an_author_does_not_approve_even_as_a_co_author_or_by_a_second_key(
    signed: SignedStage,
) -> None:
    rule(signed, "[approval.high]\nauthor_may_sign = false\n")
    signed.sign("trusted")
    message = f"{message_of(X)}\nCo-authored-by: Carol <Carol@Example.test>"
    signed.clone.commit({X: ONE}, message=message)
    signed.push()
    waits(signed, "0 of 1", f"from {DAVE}", f"not counted, as an author: {BOSS}")
    signed.approve("spare", X)
    signed.approve("carol", X)
    waits(signed, "0 of 1", f"as an author: {BOSS}, {CAROL}")
    signed.approve("dave", X)
    assert by(signed.outcome()) == (DAVE,)


def test_all_who_wrote_a_part_of_one_merge_are_its_authors(signed: SignedStage) -> None:
    rule(signed, "[approval.high]\nauthor_may_sign = false\n")
    clone = signed.clone
    clone.branch("topic")
    signed.sign("carol")
    clone.commit({X: ONE})
    signed.sign("dave")
    clone.commit({X: TWO})
    clone.switch("main")
    signed.sign("carol")
    clone.merge("topic", "-m", message_of(X).partition("\n\n")[2])
    signed.push()
    waits(signed, f"needs 1 more, from {BOSS}", f"as an author: {CAROL}")
    signed.approve("trusted", X)
    assert by(signed.outcome()) == (BOSS,)


def test_a_formula_of_the_ops_repo_needs_as_many_as_tier_high_and_its_own_table(
    signed: SignedStage,
) -> None:
    rule(signed, f"{BOTH}[formulas.theirs]\ntier = 'medium'\napproval.approvals = 3\n")
    signed.sign("trusted")
    signed.push({X: action_text("x", formula="theirs"), THEIRS: "echo hello\n"})
    signed.approve("carol", X)
    waits(signed, "2 of 3 approvals ([formulas.theirs.approval])")
    signed.approve("dave", X)
    waits(signed, "formula formulas/theirs.sh needs approval at tier high: 1 of 3")
    signed.approve("carol", THEIRS)
    signed.approve("dave", THEIRS)
    assert by(signed.outcome()) == (BOSS, CAROL, DAVE)


def test_an_approval_stops_counting_with_its_key(signed: SignedStage) -> None:
    rule(signed, BOTH)
    signed.sign("trusted")
    signed.push({X: ONE})
    signed.approve("carol", X)
    assert by(signed.outcome()) == (BOSS, CAROL)
    revoked = signed.folder / "revoked_keys"
    revoked.write_text(f"{revoked.read_text()}{signed.public('carol')}\n")
    signed.judge.gate.invalidate()
    waits(signed, f"1 of 2 approvals ([approval.high]), by {BOSS}; needs 1 more, from {DAVE}")
    signed.approve("dave", X)
    assert by(signed.outcome()) == (BOSS, DAVE)


def test_what_was_found_is_found_again_at_a_later_head_and_after_a_rewrite(
    signed: SignedStage,
) -> None:
    rule(signed, BOTH)
    signed.sign("trusted")
    signed.push({X: ONE})
    waits(signed)
    first = signed.clone.head()
    signed.approve("carol", X)
    assert by(signed.outcome()) == (BOSS, CAROL)
    signed.push({"notes": "1\n"})
    assert by(signed.outcome()) == (BOSS, CAROL)
    signed.force_push(first)
    signed.noticed()
    waits(signed, "1 of 2")
    signed.approve("dave", X)
    assert by(signed.outcome()) == (BOSS, DAVE)
