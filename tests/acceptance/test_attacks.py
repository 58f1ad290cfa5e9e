"""Attacks on approval: each row of ``attack_table``, shown. None of them may run."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import httpx
import pytest

from dispatcher.forge import ForgeApi
from dispatcher.gate import NoGate, TieredGate
from dispatcher.gate.forgejo import Approvers, ForgejoGate
from dispatcher.model.health import Health
from dispatcher.settings import ForgeSettings
from dispatcher.status.metrics import Metrics
from dispatcher.web.app import App
from dispatcher.web.hooks import PushHook
from dispatcher.web.listener import Listener
from tests.acceptance import attack_table
from tests.acceptance.attack_table import ATTACKS, FORGE, SHOWN, shows
from tests.servers.forgejo import Forgejo, Refused
from tests.support.forge_stage import Stage, action_path, action_text
from tests.support.judging import Found
from tests.support.recorded import FOLDER, Recording, ReplayHistory, ReplayTransport
from tests.support.signed_stage import SignedStage

X = action_path("x")
ONE, TWO = action_text("x"), action_text("x", extra='model = "other"\n')
THEIRS = "formulas/theirs.sh"
ON_FORGE = pytest.mark.needs("forgejo", "git")
ON_GIT = pytest.mark.needs("git", "ssh-keygen")


def ends(name: str, found: Found) -> None:
    """The action ends as the table says, and for that reason."""
    attack = ATTACKS[name]
    assert found.outcome == attack.outcome, found.reason
    assert attack.said in found.reason
    assert found.decision is None or not found.decision.approved_by


@pytest.fixture
def stage(forge: Forgejo, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = Stage.build(forge, tmp_path)
    yield stage
    name = request.node.name.removeprefix("test_")
    if (folder := os.environ.get("DISINTO_RECORD")) and stage.recording.decision:
        stage.recording.save(Path(folder) / f"{name}.json")


@pytest.fixture
def signed(tmp_path: Path) -> SignedStage:
    return SignedStage.build(tmp_path)


# --- who approves, and what ---------------------------------------------------------------------


@ON_FORGE
@shows("self_approval")
def test_self_approval(stage: Stage) -> None:
    number = stage.propose(stage.boss, {X: ONE})
    with pytest.raises(Refused):
        stage.review(stage.boss, number)
    stage.merge(stage.boss, number)
    ends("self_approval", stage.outcome())


@ON_FORGE
@shows("older_head")
def test_older_head(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    older = stage.clone(stage.alice).git("rev-parse", "topic")
    stage.push_more(stage.alice, {X: TWO}, branch="topic")
    stage.review(stage.boss, number, commit=older)
    stage.merge(stage.alice, number)
    ends("older_head", stage.outcome())


@ON_FORGE
@shows("push_after_approval")
def test_push_after_approval(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.boss, number)
    stage.push_more(stage.alice, {"notes": "1\n"}, branch="topic")
    stage.settle(number)
    stage.merge(stage.alice, number)
    ends("push_after_approval", stage.outcome())


@ON_FORGE
@shows("push_and_back")
def test_push_and_back(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    approved = stage.clone(stage.alice).git("rev-parse", "topic")
    stage.review(stage.boss, number)
    stage.next_second()
    stage.push_more(stage.alice, {X: TWO}, branch="topic")
    stage.settle(number)
    stage.clone(stage.alice).git("push", "-q", "--force", "origin", f"{approved}:topic")
    stage.settle(number)
    stage.merge(stage.alice, number)
    ends("push_and_back", stage.outcome())


@ON_FORGE
@shows("approval_dismissed")
def test_approval_dismissed(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    review = stage.review(stage.boss, number)
    stage.repo(
        stage.owner, "POST", f"/pulls/{number}/reviews/{review}/dismissals", {"message": "no"}
    )
    stage.merge(stage.alice, number)
    ends("approval_dismissed", stage.outcome())


@ON_FORGE
@shows("approval_then_rejection")
def test_approval_then_rejection(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.boss, number)
    stage.review(stage.boss, number, "REQUEST_CHANGES")
    stage.merge(stage.alice, number)
    ends("approval_then_rejection", stage.outcome())


@ON_FORGE
@shows("approval_by_non_admin")
def test_approval_by_non_admin(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.carol, number)
    stage.merge(stage.alice, number)
    ends("approval_by_non_admin", stage.outcome())


@ON_FORGE
@shows("approval_by_reader")
def test_approval_by_reader(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.passer_by, number)
    stage.merge(stage.alice, number)
    ends("approval_by_reader", stage.outcome())


@ON_FORGE
@shows("approval_outside_the_list")
def test_approval_outside_the_list(stage: Stage) -> None:
    stage.set_gate(Approvers(logins=(stage.carol.login,)))
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.boss, number)
    stage.merge(stage.alice, number)
    ends("approval_outside_the_list", stage.outcome())


@ON_FORGE
@shows("second_account")
def test_second_account(stage: Stage) -> None:
    clone = stage.clone(stage.alice)
    with_other_author = f"--author={stage.boss.login} <{stage.boss.email}>"
    clone.git("checkout", "-q", "-B", "topic")
    clone.commit({X: ONE}, with_other_author)
    clone.git("push", "-q", "origin", "topic")
    number = stage.open(stage.alice, branch="topic")
    stage.review(stage.boss, number)
    stage.merge(stage.alice, number)
    ends("second_account", stage.outcome())


@ON_FORGE
@shows("second_account_by_address")
def test_second_account_by_address(stage: Stage) -> None:
    clone = stage.clone(stage.alice)
    clone.git("checkout", "-q", "-B", "topic")
    trailer = f"Co-authored-by: Somebody <{stage.boss.email.upper()}>"
    clone.commit({X: ONE}, message=f"change\n\n{trailer}")
    clone.git("push", "-q", "origin", "topic")
    number = stage.open(stage.alice, branch="topic")
    stage.review(stage.boss, number)
    stage.merge(stage.alice, number)
    ends("second_account_by_address", stage.outcome())


@ON_FORGE
@shows("second_account_by_push")
def test_second_account_by_push(stage: Stage) -> None:
    number = stage.propose(stage.alice, {"notes": "1\n"})
    clone = stage.clone(stage.alice)
    clone.git("checkout", "-q", "-B", "topic", "origin/topic")
    commit = clone.commit({X: ONE})
    clone.git("push", "-q", stage.boss.remote(stage.repository), "topic")
    stage.expect_push(number, commit)
    stage.review(stage.boss, number)
    stage.merge(stage.alice, number)
    ends("second_account_by_push", stage.outcome())


@ON_FORGE
@shows("deleted_author")
def test_deleted_author(stage: Stage) -> None:
    mallory = stage.server.account("mallory")
    stage.allow(mallory, "write")
    number = stage.propose(mallory, {X: ONE})
    stage.land(stage.alice, number)
    stage.server.admin.call("DELETE", f"/admin/users/{mallory.login}")
    ends("deleted_author", stage.outcome())


# --- past the requests --------------------------------------------------------------------------


@ON_FORGE
@shows("direct_push")
def test_direct_push(stage: Stage) -> None:
    stage.push_main(stage.alice, {X: ONE})
    ends("direct_push", stage.outcome())


@ON_FORGE
@shows("direct_push_by_admin")
def test_direct_push_by_admin(stage: Stage) -> None:
    stage.push_main(stage.boss, {X: ONE})
    ends("direct_push_by_admin", stage.outcome())


@ON_GIT
@shows("claims_in_the_file")
def test_claims_in_the_file(signed: SignedStage) -> None:
    claims = 'blast_radius = "low"\ndispatch_mode = "direct"\n'
    signed.push({X: action_text("x", extra=claims)})
    ends("claims_in_the_file", signed.outcome())


@ON_GIT
@shows("policy_in_the_ops_repo")
def test_policy_in_the_ops_repo(signed: SignedStage) -> None:
    lax = '[tiers]\ndeploy = "low"\n'
    signed.push({X: ONE, "policy.toml": lax, "vault/policy.toml": lax, "disinto.toml": lax})
    ends("policy_in_the_ops_repo", signed.outcome())


@ON_FORGE
@shows("formula_swapped")
def test_formula_swapped(stage: Stage) -> None:
    wanted = {X: action_text("x", formula="theirs"), THEIRS: "echo good\n"}
    stage.land(stage.alice, stage.propose(stage.alice, wanted))
    assert stage.outcome().outcome == "approved"
    stage.push_main(stage.alice, {THEIRS: "echo evil\n"})
    ends("formula_swapped", stage.outcome())


@ON_FORGE
@shows("formula_under_low")
def test_formula_under_low(stage: Stage) -> None:
    stage.push_main(stage.alice, {X: action_text("x", formula="theirs"), THEIRS: "echo evil\n"})
    ends("formula_under_low", stage.outcome())


@ON_FORGE
@shows("formula_renamed")
def test_formula_renamed(stage: Stage) -> None:
    stage.land(stage.alice, stage.propose(stage.alice, {"formulas/safe.sh": "echo hello\n"}))
    clone = stage.clone(stage.alice)
    clone.git("checkout", "-q", "-B", "rename")
    clone.git("mv", "formulas/safe.sh", THEIRS)
    clone.commit({X: action_text("x", formula="theirs")})
    clone.git("push", "-q", "origin", "rename")
    stage.merge(stage.alice, stage.open(stage.alice, branch="rename"))
    ends("formula_renamed", stage.outcome())


@ON_FORGE
@shows("edited_after_merge")
def test_edited_after_merge(stage: Stage) -> None:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}))
    assert stage.outcome().outcome == "approved"
    stage.push_main(stage.alice, {X: TWO})
    ends("edited_after_merge", stage.outcome())


@ON_FORGE
@shows("edited_and_back")
def test_edited_and_back(stage: Stage) -> None:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}))
    stage.push_main(stage.alice, {X: TWO})
    stage.push_main(stage.alice, {X: ONE})
    ends("edited_and_back", stage.outcome())


@ON_FORGE
@shows("history_rewritten")
def test_history_rewritten(stage: Stage) -> None:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}))
    assert stage.outcome().outcome == "approved"
    clone = stage.clone(stage.alice)
    clone.write(X, TWO)
    clone.git("commit", "-q", "--amend", "--no-edit")
    clone.git("push", "-q", "--force", "origin", "main")
    ends("history_rewritten", stage.outcome())


@ON_FORGE
@shows("withdrawal_forced_away")
def test_withdrawal_forced_away(stage: Stage) -> None:
    approved = stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}))
    assert stage.outcome().outcome == "approved"
    clone = stage.clone(stage.alice)
    clone.git("rm", "-q", X)
    clone.commit()
    clone.git("push", "-q", "origin", "main")
    assert stage.outcome().outcome == "absent"
    stage.judge.repo.mark_seen(stage.judge.repo.fetch().commit)
    clone.git("push", "-q", "--force", "origin", f"{approved}:main")
    stage.judge.gate.invalidate()
    ends("withdrawal_forced_away", stage.outcome())


@ON_FORGE
@shows("hidden_in_a_merge")
def test_hidden_in_a_merge(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.boss, number)
    clone = stage.clone(stage.alice)
    clone.git("merge", "-q", "--no-ff", "--no-commit", "origin/topic")
    clone.commit({X: TWO}, message=f"Merge pull request #{number}")
    clone.git("push", "-q", "origin", "main")
    ends("hidden_in_a_merge", stage.outcome())


@ON_FORGE
@shows("older_content_by_a_merge")
def test_older_content_by_a_merge(stage: Stage) -> None:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}, branch="first"))
    stage.land(stage.alice, stage.propose(stage.alice, {X: TWO}, branch="second"))
    assert stage.outcome().outcome == "approved"
    clone = stage.clone(stage.alice)
    clone.git("checkout", "-q", "origin/first")
    clone.commit({"notes": "1\n"})
    side = clone.head()
    clone.git("checkout", "-q", "main")
    clone.git("merge", "-q", "--no-ff", "--no-commit", side)
    clone.commit({X: ONE})
    clone.git("push", "-q", "origin", "main")
    ends("older_content_by_a_merge", stage.outcome())


@ON_FORGE
@shows("branch_moved_after_merge")
def test_branch_moved_after_merge(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    approved = stage.clone(stage.alice).git("rev-parse", "topic")
    stage.review(stage.boss, number)
    stage.push_more(stage.alice, {"notes": "1\n"}, branch="topic")
    stage.settle(number)
    stage.merge(stage.alice, number)
    clone = stage.clone(stage.alice)
    clone.git("push", "-q", "--force", "origin", f"{approved}:topic")
    assert stage.repo(stage.owner, "GET", f"/pulls/{number}")["head"]["sha"] == approved
    ends("branch_moved_after_merge", stage.outcome())


@ON_FORGE
@shows("pull_ref_overwritten")
def test_pull_ref_overwritten(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: ONE})
    approved = stage.clone(stage.alice).git("rev-parse", "topic")
    stage.review(stage.boss, number)
    stage.push_more(stage.alice, {"notes": "1\n"}, branch="topic")
    stage.settle(number)
    stage.merge(stage.alice, number, "squash")
    clone = stage.clone(stage.alice)
    clone.git("push", "-q", "--force", "origin", f"{approved}:refs/pull/{number}/head")
    assert stage.merged_head(number) == approved
    ends("pull_ref_overwritten", stage.outcome())


@ON_FORGE
@shows("owned_by_another_request")
def test_owned_by_another_request(stage: Stage) -> None:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}, branch="first"))
    stage.merge(stage.alice, stage.propose(stage.alice, {X: TWO}, branch="second"))
    ends("owned_by_another_request", stage.outcome())


@ON_FORGE
@shows("request_into_another_branch")
def test_request_into_another_branch(stage: Stage) -> None:
    clone = stage.clone(stage.alice)
    clone.git("push", "-q", "origin", "main:side")
    stage.push_branch(stage.alice, {X: ONE}, branch="topic")
    wanted = {"head": "topic", "base": "side", "title": "into side"}
    number = stage.repo(stage.alice, "POST", "/pulls", wanted)["number"]
    stage.land(stage.alice, number)
    clone.git("fetch", "-q", "origin")
    clone.git("push", "-q", "origin", "origin/side:refs/heads/main")
    ends("request_into_another_branch", stage.outcome())


# --- names --------------------------------------------------------------------------------------


@ON_GIT
@shows("renamed")
def test_renamed(signed: SignedStage) -> None:
    signed.sign("trusted")
    signed.push({X: ONE})
    assert signed.outcome().outcome == "approved"
    signed.clone.git("mv", X, action_path("y"))
    signed.clone.commit()
    signed.push()
    ends("renamed", signed.outcome("y"))


@ON_GIT
@shows("symlink")
def test_symlink(signed: SignedStage) -> None:
    signed.sign("trusted")
    signed.push({X: ONE})
    (signed.clone.path / action_path("y")).symlink_to("x.toml")
    signed.clone.git("add", action_path("y"))
    signed.clone.commit()
    signed.push()
    ends("symlink", signed.outcome("y"))


@ON_GIT
@shows("case_twin")
def test_case_twin(signed: SignedStage) -> None:
    signed.sign("trusted")
    signed.push({X: ONE})
    signed.push({action_path("X"): action_text("X")})
    ends("case_twin", signed.outcome("X"))
    assert signed.outcome("x").outcome == "approved"


# --- the forge itself ---------------------------------------------------------------------------


@ON_FORGE
@shows("forge_down")
def test_forge_down(stage: Stage) -> None:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}))
    nobody = ForgeApi(
        ForgeSettings(url="http://127.0.0.1:9", repository=stage.repository), token="t"
    )
    stage.judge.gate = TieredGate(
        ForgejoGate(forge=nobody, history=stage.judge.repo, branch="main", approvers=Approvers())
    )
    found = stage.outcome()
    ends("forge_down", found)
    assert found.decision is None  # not even a decision: nothing is written, and it is asked again


NONSENSE = (
    httpx.Response(200, text="<html>Sign in</html>"),
    httpx.Response(200, json={"number": "1"}),
    httpx.Response(200, json=[{"merged": True}]),
    httpx.Response(200, json="approved"),
    httpx.Response(200, content=b"\xff\xfe\x00"),
    httpx.Response(200, content=b"[" * 100_000),
    httpx.Response(200, content=b" " * (9 * 2**20)),
    httpx.Response(204),
    httpx.Response(302, headers={"Location": "http://127.0.0.1:9/"}),
    httpx.Response(500, json={"message": "no"}),
    httpx.Response(503, text="busy"),
    httpx.Response(429, text="slowly"),
    httpx.Response(401, json={"message": "who are you"}),
    httpx.Response(403, json={"message": "no"}),
    httpx.Response(418, text="teapot"),
)


@ON_GIT
@shows("forge_nonsense")
def test_forge_nonsense(signed: SignedStage) -> None:
    signed.push({X: ONE})
    settings = ForgeSettings(url="http://forge.test", repository="o/r")
    for answer in NONSENSE:
        transport = httpx.MockTransport(
            lambda _request, a=answer: httpx.Response(
                a.status_code, headers=dict(a.headers), content=a.content
            )
        )
        api = ForgeApi(settings, token="t", transport=transport)
        signed.judge.gate = TieredGate(
            ForgejoGate(forge=api, history=signed.judge.repo, branch="main", approvers=Approvers())
        )
        found = signed.outcome()
        ends("forge_nonsense", found)
        assert found.decision is None


# --- signatures ---------------------------------------------------------------------------------


@ON_GIT
@shows("unsigned")
def test_unsigned(signed: SignedStage) -> None:
    signed.push({X: ONE})
    ends("unsigned", signed.outcome())


@ON_GIT
@shows("wrongly_signed")
def test_wrongly_signed(signed: SignedStage) -> None:
    signed.sign("stranger")
    signed.push({X: ONE})
    ends("wrongly_signed", signed.outcome())


@ON_GIT
@shows("list_in_the_ops_repo")
def test_list_in_the_ops_repo(signed: SignedStage) -> None:
    line = f"boss@example.test {signed.public('stranger')}\n"
    signed.sign("stranger")
    signed.push({X: ONE, "allowed_signers": line, ".gitattributes": "* filter=x\n"})
    ends("list_in_the_ops_repo", signed.outcome())


@ON_GIT
@shows("expired_key")
def test_expired_key(signed: SignedStage) -> None:
    signed.sign("expired")  # the clone's clock stands in 2023, when that key was valid
    signed.push({X: ONE})
    ends("expired_key", signed.outcome())


@ON_GIT
@shows("revoked_key")
def test_revoked_key(signed: SignedStage) -> None:
    signed.sign("revoked")
    signed.push({X: ONE})
    found = signed.outcome()
    ends("revoked_key", found)
    assert found.decision is not None
    assert found.decision.final


@ON_GIT
@shows("signature_of_another_commit")
def test_signature_of_another_commit(signed: SignedStage) -> None:
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
    ends("signature_of_another_commit", signed.outcome())


@ON_GIT
@shows("unsigned_merge_hides_a_change")
def test_unsigned_merge_hides_a_change(signed: SignedStage) -> None:
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
    ends("unsigned_merge_hides_a_change", signed.outcome())


@ON_GIT
@shows("unsigned_merge_brings_old_content")
def test_unsigned_merge_brings_old_content(signed: SignedStage) -> None:
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
    ends("unsigned_merge_brings_old_content", signed.outcome())


@ON_GIT
@shows("no_gate")
def test_no_gate(tmp_path: Path) -> None:
    stage = SignedStage.build(tmp_path, gate=lambda _repo: TieredGate(NoGate()))
    stage.sign("trusted")
    stage.push({X: ONE})
    ends("no_gate", stage.outcome())


# --- the webhook --------------------------------------------------------------------------------

SECRET = b"a secret that only the forge knows"


@contextmanager
def listener(rung: list[str]) -> Iterator[str]:
    health = Health(leader=True, beat_at=0, started_at=0)
    app = App(
        health=lambda: health,
        metrics=Metrics(),
        wake=lambda: rung.append("look"),
        hook=PushHook(secret=SECRET, repository="ops/actions", branch="main"),
    )
    with Listener(app, listen="127.0.0.1:0") as opened:
        yield f"http://127.0.0.1:{opened.port}/hooks/push"


def call(url: str, body: bytes, signature: str | None) -> httpx.Response:
    headers = {"X-Forgejo-Signature": signature} if signature is not None else {}
    return httpx.post(url, content=body, headers=headers, timeout=10)


BODY = json.dumps(
    {
        "ref": "refs/heads/main",
        "repository": {"full_name": "ops/actions"},
        "commits": [{"added": [X], "message": "approved, merged, trust me"}],
    }
).encode()


@shows("forged_webhook")
def test_forged_webhook() -> None:
    rung: list[str] = []
    right = hmac.new(SECRET, BODY, hashlib.sha256).hexdigest()
    with listener(rung) as url:
        for body, signature in (
            (BODY, None),
            (BODY, ""),
            (BODY, "sha256="),
            (BODY, "0" * 64),
            (BODY + b" ", right),
            (BODY, hmac.new(b"", BODY, hashlib.sha256).hexdigest()),
        ):
            answer = call(url, body, signature)
            assert answer.status_code == 403
            assert ATTACKS["forged_webhook"].said in answer.text
    assert rung == []


@ON_GIT
@shows("replayed_webhook")
def test_replayed_webhook(tmp_path: Path) -> None:
    stage = SignedStage.build(tmp_path, gate=lambda _repo: TieredGate(NoGate()))
    stage.push({X: ONE})
    rung: list[str] = []
    with listener(rung) as url:
        for _ in range(3):
            right = hmac.new(SECRET, BODY, hashlib.sha256).hexdigest()
            assert call(url, BODY, right).status_code == 202
            ends("replayed_webhook", stage.outcome())
    assert rung == ["look"] * 3


# --- the recordings, and the table --------------------------------------------------------------


@pytest.mark.parametrize("name", [a.name for a in attack_table.TABLE if a.on == FORGE])
def test_on_recorded_answers(name: str) -> None:
    recording = Recording.load(FOLDER / f"{name}.json")
    said = recording.approvers
    approvers = Approvers(logins=tuple(said["logins"]), team=said["team"])
    api = ForgeApi(
        ForgeSettings(url="http://forge.test", repository=repository_of(recording)),
        token="t",
        transport=ReplayTransport(recording.forge),
    )
    gate = TieredGate(
        ForgejoGate(
            forge=api,
            history=ReplayHistory(recording.history),
            branch="main",
            approvers=approvers,
            wall=lambda: 4e9,
        )
    )
    decision = gate.check(recording.asked())
    found = Found(outcome=decision.answer.value, reason=decision.reason, decision=decision)
    ends(name, found)
    assert decision.reason == recording.decision["reason"]


def repository_of(recording: Recording) -> str:
    path = next(iter(path for path in recording.forge if "/repos/" in path), "/repos/o/r/")
    owner, name = path.split("/repos/")[1].split("/")[:2]
    return f"{owner}/{name}"


def test_every_row_has_its_test() -> None:
    import_module("tests.acceptance.test_attacks_on_git")
    assert {attack.name for attack in attack_table.TABLE} == SHOWN


def test_no_row_ends_in_a_run() -> None:
    assert {a.outcome for a in attack_table.TABLE} <= {
        "waiting",
        "refused",
        "invalid",
        "ignored",
        "unheard",
    }
