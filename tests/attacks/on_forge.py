"""Scenes on a forge: what an author does to have an action run that nobody else approved."""

from __future__ import annotations

import pytest

from dispatcher.gate.approvers import Approvers
from tests.servers.forgejo import Refused
from tests.support.forge_stage import Stage, action_path, action_text
from tests.support.judging import Found

X = action_path("x")
ONE, TWO = action_text("x"), action_text("x", extra='model = "other"\n')
THEIRS = "formulas/theirs.sh"

# Who approves, and what


def self_approval(stage: Stage) -> Found:
    number = stage.propose(stage.boss, {X: ONE})
    with pytest.raises(Refused):
        stage.review(stage.boss, number)
    stage.merge(stage.boss, number)
    return stage.outcome()


def older_head(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    older = stage.clone(stage.alice).git("rev-parse", "topic")
    stage.push_more(stage.alice, {X: TWO}, branch="topic")
    stage.review(stage.boss, number, commit=older)
    stage.merge(stage.alice, number)
    return stage.outcome()


def push_after_approval(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.boss, number)
    stage.push_more(stage.alice, {"notes": "1\n"}, branch="topic")
    stage.settle(number)
    stage.merge(stage.alice, number)
    return stage.outcome()


def push_and_back(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    approved = stage.clone(stage.alice).git("rev-parse", "topic")
    stage.review(stage.boss, number)
    stage.next_second()
    stage.push_more(stage.alice, {X: TWO}, branch="topic")
    stage.settle(number)
    stage.clone(stage.alice).git("push", "-q", "--force", "origin", f"{approved}:topic")
    stage.settle(number)
    stage.merge(stage.alice, number)
    return stage.outcome()


def approval_dismissed(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    review = stage.review(stage.boss, number)
    stage.repo(
        stage.owner, "POST", f"/pulls/{number}/reviews/{review}/dismissals", {"message": "no"}
    )
    stage.merge(stage.alice, number)
    return stage.outcome()


def approval_then_rejection(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.boss, number)
    stage.review(stage.boss, number, "REQUEST_CHANGES")
    stage.merge(stage.alice, number)
    return stage.outcome()


def approval_by_non_admin(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.carol, number)
    stage.merge(stage.alice, number)
    return stage.outcome()


def approval_by_reader(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.passer_by, number)
    stage.merge(stage.alice, number)
    return stage.outcome()


def approval_outside_the_list(stage: Stage) -> Found:
    stage.set_gate(Approvers(logins=(stage.carol.login,)))
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.boss, number)
    stage.merge(stage.alice, number)
    return stage.outcome()


def second_account(stage: Stage) -> Found:
    clone = stage.clone(stage.alice)
    with_other_author = f"--author={stage.boss.login} <{stage.boss.email}>"
    clone.git("checkout", "-q", "-B", "topic")
    clone.commit({X: ONE}, with_other_author)
    clone.git("push", "-q", "origin", "topic")
    number = stage.open(stage.alice, branch="topic")
    stage.review(stage.boss, number)
    stage.merge(stage.alice, number)
    return stage.outcome()


def second_account_by_address(stage: Stage) -> Found:
    clone = stage.clone(stage.alice)
    clone.git("checkout", "-q", "-B", "topic")
    trailer = f"Co-authored-by: Somebody <{stage.boss.email.upper()}>"
    clone.commit({X: ONE}, message=f"change\n\n{trailer}")
    clone.git("push", "-q", "origin", "topic")
    number = stage.open(stage.alice, branch="topic")
    stage.review(stage.boss, number)
    stage.merge(stage.alice, number)
    return stage.outcome()


def second_account_by_push(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {"notes": "1\n"})
    clone = stage.clone(stage.alice)
    clone.git("checkout", "-q", "-B", "topic", "origin/topic")
    commit = clone.commit({X: ONE})
    clone.git("push", "-q", stage.boss.remote(stage.repository), "topic")
    stage.expect_push(number, commit)
    stage.review(stage.boss, number)
    stage.merge(stage.alice, number)
    return stage.outcome()


def deleted_author(stage: Stage) -> Found:
    mallory = stage.server.account("mallory")
    stage.allow(mallory, "write")
    number = stage.propose(mallory, {X: ONE})
    stage.land(stage.alice, number)
    stage.server.admin.call("DELETE", f"/admin/users/{mallory.login}")
    return stage.outcome()


# Past the requests


def direct_push(stage: Stage) -> Found:
    stage.push_main(stage.alice, {X: ONE})
    return stage.outcome()


def direct_push_by_admin(stage: Stage) -> Found:
    stage.push_main(stage.boss, {X: ONE})
    return stage.outcome()


def formula_swapped(stage: Stage) -> Found:
    wanted = {X: action_text("x", formula="theirs"), THEIRS: "echo good\n"}
    stage.land(stage.alice, stage.propose(stage.alice, wanted))
    assert stage.outcome().outcome == "approved"
    stage.push_main(stage.alice, {THEIRS: "echo evil\n"})
    return stage.outcome()


def formula_under_low(stage: Stage) -> Found:
    stage.push_main(stage.alice, {X: action_text("x", formula="theirs"), THEIRS: "echo evil\n"})
    return stage.outcome()


def formula_renamed(stage: Stage) -> Found:
    stage.land(stage.alice, stage.propose(stage.alice, {"formulas/safe.sh": "echo hello\n"}))
    clone = stage.clone(stage.alice)
    clone.git("checkout", "-q", "-B", "rename")
    clone.git("mv", "formulas/safe.sh", THEIRS)
    clone.commit({X: action_text("x", formula="theirs")})
    clone.git("push", "-q", "origin", "rename")
    stage.merge(stage.alice, stage.open(stage.alice, branch="rename"))
    return stage.outcome()


def edited_after_merge(stage: Stage) -> Found:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}))
    assert stage.outcome().outcome == "approved"
    stage.push_main(stage.alice, {X: TWO})
    return stage.outcome()


def edited_and_back(stage: Stage) -> Found:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}))
    stage.push_main(stage.alice, {X: TWO})
    stage.push_main(stage.alice, {X: ONE})
    return stage.outcome()


def history_rewritten(stage: Stage) -> Found:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}))
    assert stage.outcome().outcome == "approved"
    clone = stage.clone(stage.alice)
    clone.write(X, TWO)
    clone.git("commit", "-q", "--amend", "--no-edit")
    clone.git("push", "-q", "--force", "origin", "main")
    return stage.outcome()


def withdrawal_forced_away(stage: Stage) -> Found:
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
    return stage.outcome()


def hidden_in_a_merge(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    stage.review(stage.boss, number)
    clone = stage.clone(stage.alice)
    clone.git("merge", "-q", "--no-ff", "--no-commit", "origin/topic")
    clone.commit({X: TWO}, message=f"Merge pull request #{number}")
    clone.git("push", "-q", "origin", "main")
    return stage.outcome()


def older_content_by_a_merge(stage: Stage) -> Found:
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
    return stage.outcome()


def branch_moved_after_merge(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    approved = stage.clone(stage.alice).git("rev-parse", "topic")
    stage.review(stage.boss, number)
    stage.push_more(stage.alice, {"notes": "1\n"}, branch="topic")
    stage.settle(number)
    stage.merge(stage.alice, number)
    clone = stage.clone(stage.alice)
    clone.git("push", "-q", "--force", "origin", f"{approved}:topic")
    assert stage.repo(stage.owner, "GET", f"/pulls/{number}")["head"]["sha"] == approved
    return stage.outcome()


def pull_ref_overwritten(stage: Stage) -> Found:
    number = stage.propose(stage.alice, {X: ONE})
    approved = stage.clone(stage.alice).git("rev-parse", "topic")
    stage.review(stage.boss, number)
    stage.push_more(stage.alice, {"notes": "1\n"}, branch="topic")
    stage.settle(number)
    stage.merge(stage.alice, number, "squash")
    clone = stage.clone(stage.alice)
    clone.git("push", "-q", "--force", "origin", f"{approved}:refs/pull/{number}/head")
    assert stage.merged_head(number) == approved
    return stage.outcome()


def owned_by_another_request(stage: Stage) -> Found:
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}, branch="first"))
    stage.merge(stage.alice, stage.propose(stage.alice, {X: TWO}, branch="second"))
    return stage.outcome()


def request_into_another_branch(stage: Stage) -> Found:
    clone = stage.clone(stage.alice)
    clone.git("push", "-q", "origin", "main:side")
    stage.push_branch(stage.alice, {X: ONE}, branch="topic")
    wanted = {"head": "topic", "base": "side", "title": "into side"}
    number = stage.repo(stage.alice, "POST", "/pulls", wanted)["number"]
    stage.land(stage.alice, number)
    clone.git("fetch", "-q", "origin")
    clone.git("push", "-q", "origin", "origin/side:refs/heads/main")
    return stage.outcome()
