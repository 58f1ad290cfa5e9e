"""Scenes with git alone: tiers, names and signatures, on real git and OpenSSH."""

from __future__ import annotations

import json
from pathlib import Path

from dispatcher.decide.policy import parse_policy
from dispatcher.gate import NoGate, TieredGate
from tests.support.checkout import Checkout
from tests.support.forge_stage import action_path, action_text
from tests.support.judging import Found
from tests.support.signed_stage import SignedStage, message_of

X, Y = action_path("x"), action_path("y")
ONE, TWO = action_text("x"), action_text("x", extra='model = "other"\n')
THEIRS = "formulas/theirs.sh"
THEIR_SCHEMA = "formulas/theirs.schema.json"
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

# Tiers and names


def with_policy(signed: SignedStage) -> None:
    """A policy that judges secrets and mounts."""
    signed.judge.policy = parse_policy(POLICY, path="policy.toml")
    signed.judge.secrets = ("PROD_DB_PASSWORD", "STAGING_TOKEN")


def claims_in_the_file(signed: SignedStage) -> Found:
    claims = 'blast_radius = "low"\ndispatch_mode = "direct"\n'
    signed.push({X: action_text("x", extra=claims)})
    return signed.outcome()


def _with_schema(signed: SignedStage) -> None:
    signed.sign("trusted")
    signed.push(
        {
            X: action_text("x", formula="theirs"),
            THEIRS: "echo\n",
            THEIR_SCHEMA: '{"additionalProperties": false}',
        }
    )
    assert signed.outcome().outcome == "approved"
    signed.sign(None)


def schema_swapped(signed: SignedStage) -> Found:
    _with_schema(signed)
    signed.push({THEIR_SCHEMA: "{}"})
    return signed.outcome()


def schema_removed(signed: SignedStage) -> Found:
    _with_schema(signed)
    signed.clone.git("rm", "-q", THEIR_SCHEMA)
    signed.push({"notes": "tidy\n"})
    return signed.outcome()


def schema_that_never_ends(signed: SignedStage) -> Found:
    doubled = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
    schema = {"$ref": "#/$defs/a0", "$defs": {**doubled, "a40": {}}}
    signed.push(
        {X: action_text("x", formula="theirs"), THEIRS: "echo\n", THEIR_SCHEMA: json.dumps(schema)}
    )
    return signed.outcome()


def policy_in_the_ops_repo(signed: SignedStage) -> Found:
    lax = '[tiers]\ndeploy = "low"\n'
    signed.push({X: ONE, "policy.toml": lax, "vault/policy.toml": lax, "disinto.toml": lax})
    return signed.outcome()


def secret_under_low(signed: SignedStage) -> Found:
    with_policy(signed)
    signed.push({X: action_text("x", formula="greet", secrets='"STAGING_TOKEN"')})
    assert signed.outcome().outcome == "approved"
    signed.push({X: action_text("x", formula="greet", secrets='"PROD_DB_PASSWORD"')})
    return signed.outcome()


def mount_under_low(signed: SignedStage) -> Found:
    with_policy(signed)
    signed.push({X: action_text("x", formula="greet", extra='mounts = ["ssh"]\n')})
    return signed.outcome()


def trust_of_another_formula(signed: SignedStage) -> Found:
    with_policy(signed)
    signed.push({X: action_text("x", formula="deploy", secrets='"PROD_DB_PASSWORD"')})
    assert signed.outcome().outcome == "approved"
    signed.push({X: action_text("x", formula="greet", secrets='"PROD_DB_PASSWORD"')})
    return signed.outcome()


def renamed(signed: SignedStage) -> Found:
    signed.sign("trusted")
    signed.push({X: ONE})
    assert signed.outcome().outcome == "approved"
    signed.clone.git("mv", X, action_path("y"))
    signed.clone.commit()
    signed.push()
    return signed.outcome("y")


def symlink(signed: SignedStage) -> Found:
    signed.sign("trusted")
    signed.push({X: ONE})
    (signed.clone.path / action_path("y")).symlink_to("x.toml")
    signed.clone.git("add", action_path("y"))
    signed.clone.commit()
    signed.push()
    return signed.outcome("y")


def case_twin(signed: SignedStage) -> Found:
    signed.sign("trusted")
    signed.push({X: ONE})
    signed.push({action_path("X"): action_text("X")})
    assert signed.outcome("x").outcome == "approved"
    return signed.outcome("X")


def no_gate(signed: SignedStage) -> Found:
    signed.judge.gate = TieredGate(NoGate())
    signed.sign("trusted")
    signed.push({X: ONE})
    return signed.outcome()


# Signatures


def unsigned(signed: SignedStage) -> Found:
    signed.push({X: ONE})
    return signed.outcome()


def wrongly_signed(signed: SignedStage) -> Found:
    signed.sign("stranger")
    signed.push({X: ONE})
    return signed.outcome()


def list_in_the_ops_repo(signed: SignedStage) -> Found:
    line = f"boss@example.test {signed.public('stranger')}\n"
    signed.sign("stranger")
    signed.push({X: ONE, "allowed_signers": line, ".gitattributes": "* filter=x\n"})
    return signed.outcome()


def expired_key(signed: SignedStage) -> Found:
    signed.sign("expired")  # the clone's clock stands in 2023, when that key was valid
    signed.push({X: ONE})
    return signed.outcome()


def revoked_key(signed: SignedStage) -> Found:
    signed.sign("revoked")
    signed.push({X: ONE})
    found = signed.outcome()
    assert found.decision is not None
    assert found.decision.final
    return found


def signature_of_another_commit(signed: SignedStage) -> Found:
    signed.sign("trusted")
    signed.push({"notes": "1\n"})
    genuine = signed.clone.git("cat-file", "commit", "HEAD")
    signed.sign(None)
    signed.clone.commit({X: ONE})
    plain = signed.clone.git("cat-file", "commit", "HEAD")
    signature = genuine[genuine.index("\ngpgsig") : genuine.index("\n\n")]
    forged = plain.replace("\n\n", f"{signature}\n\n", 1) + "\n"
    commit = signed.clone.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=forged)
    signed.clone.git("reset", "-q", "--hard", commit)
    signed.push()
    return signed.outcome()


def unsigned_merge_hides_a_change(signed: SignedStage) -> Found:
    clone = signed.clone
    signed.sign("trusted")
    signed.push({X: ONE})
    clone.branch("topic")
    clone.commit({"notes": "1\n"})
    clone.switch("main")
    signed.sign(None)
    clone.git("merge", "-q", "--no-ff", "--no-commit", "topic")
    clone.commit({X: TWO})
    signed.push()
    return signed.outcome()


def unsigned_merge_brings_old_content(signed: SignedStage) -> Found:
    clone = signed.clone
    signed.sign("trusted")
    signed.push({X: ONE})
    clone.branch("topic")
    clone.commit({"notes": "1\n"})
    clone.switch("main")
    signed.push({X: TWO})
    assert signed.outcome().outcome == "approved"
    signed.sign(None)
    clone.switch("topic")
    clone.merge("main", "-s", "ours")
    clone.git("checkout", "-q", "-B", "main")
    signed.push()
    assert clone.git("show", f"HEAD:{X}") + "\n" == ONE
    return signed.outcome()


# Signatures made elsewhere, and approvals that time has passed


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


def foreign_repository_merged(signed: SignedStage) -> Found:
    signed.sign("trusted")
    other = foreign(signed, signed.folder / "other", X, THEIRS, here="acme/staging@main")
    merge_foreign(signed, other)
    return signed.outcome()


def foreign_formula_merged(signed: SignedStage) -> Found:
    signed.sign("trusted")
    merge_foreign(
        signed, foreign(signed, signed.folder / "other", THEIRS, here="acme/staging@main")
    )
    signed.push({X: action_text("x", formula="theirs")})
    return signed.outcome()


def signed_draft(signed: SignedStage) -> Found:
    clone = signed.clone
    signed.sign("trusted")
    clone.branch("draft")
    clone.commit({X: ONE}, message="A draft, do not run")
    clone.switch("main")
    signed.sign(None)
    clone.git("merge", "-q", "--ff-only", "draft")
    signed.push()
    return signed.outcome()


def approved_on_another_branch(signed: SignedStage) -> Found:
    signed.sign("trusted")
    signed.clone.commit({X: ONE}, message=message_of(X, here="acme/ops@staging"))
    signed.push()
    return signed.outcome()


def approval_of_another_action(signed: SignedStage) -> Found:
    signed.sign("trusted")
    both = {X: ONE, Y: action_text("y")}
    signed.clone.commit(both, message=message_of(Y))
    signed.push()
    assert signed.outcome("y").outcome == "approved"
    return signed.outcome()


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


def approved_merge_brings_more(signed: SignedStage) -> Found:
    merged_by_an_approver(signed, Y)
    approved = signed.outcome("y")
    assert approved.outcome == "approved"
    assert approved.decision is not None
    assert approved.decision.approved_by == ("boss@example.test",)
    assert approved.decision.commit == signed.clone.head()
    return signed.outcome()


def changed_after_approved_merge(signed: SignedStage) -> Found:
    merged_by_an_approver(signed, X)
    assert signed.outcome().outcome == "approved"
    signed.push({X: TWO})
    return signed.outcome()


def approval_cherry_picked(signed: SignedStage) -> Found:
    clone = signed.clone
    clone.branch("elsewhere")
    signed.sign("trusted")
    clone.commit({X: ONE}, message=message_of(X))
    clone.switch("main")
    signed.sign(None)
    clone.commit({"notes": "1\n"})
    clone.git("cherry-pick", "elsewhere")
    signed.push()
    return signed.outcome()


def approval_in_unsigned_message(signed: SignedStage) -> Found:
    signed.clone.commit({X: ONE}, message=message_of(X))
    signed.push()
    return signed.outcome()


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


def withdrawal_dropped(signed: SignedStage) -> Found:
    _, approval = approved_and_withdrawn(signed)
    signed.force_push(approval)
    signed.judge.gate.invalidate()
    assert signed.outcome().outcome == "waiting"  # before the dispatcher records anything,
    signed.noticed()
    signed.push({"notes": "1\n"})
    found = signed.outcome()  # and when the old head is forgotten
    signed.sign("trusted")
    signed.push({X: TWO})
    assert signed.outcome().outcome == "approved"
    return found


def withdrawal_dropped_in_two_steps(signed: SignedStage) -> Found:
    before, approval = approved_and_withdrawn(signed)
    signed.force_push(before)
    assert signed.outcome().outcome == "absent"
    signed.noticed()
    signed.force_push(approval)
    return signed.outcome()


def older_formula_restored(signed: SignedStage) -> Found:
    signed.sign("trusted")
    older = signed.push({THEIRS: "echo older\n"})
    signed.push({THEIRS: "echo mended\n"})
    signed.noticed()
    signed.sign(None)
    signed.force_push(older)
    signed.push({X: action_text("x", formula="theirs")})
    return signed.outcome()
