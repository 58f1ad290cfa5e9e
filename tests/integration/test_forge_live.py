"""The forge's client, the reports and the webhook, on a real forge."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher.assembly import doctor_openers, open_repo
from dispatcher.forge import ForgeRefused
from dispatcher.gate import Answer
from dispatcher.gate.approvers import Approvers
from dispatcher.gate.landing import Landings
from dispatcher.gate.report import ForgeReporter
from dispatcher.gate.request_comment import MARKER
from dispatcher.listener.app import App
from dispatcher.listener.hooks import PushHook
from dispatcher.listener.serving import Listener
from dispatcher.model.checks import Check
from dispatcher.model.health import Health
from dispatcher.operate.doctor import diagnose
from dispatcher.settings import Settings
from dispatcher.status.metrics import Metrics
from tests.servers.forgejo import Account, Forgejo
from tests.support.forge_stage import Stage, action_path, action_text
from tests.support.judging import Found

pytestmark = pytest.mark.needs("forgejo", "git")

X, Y = action_path("x"), action_path("y")


@pytest.fixture
def stage(forge: Forgejo, tmp_path: Path) -> Stage:
    return Stage.build(forge, tmp_path)


def reporter_of(stage: Stage) -> ForgeReporter:
    """A reporter that remembers nothing."""
    history = stage.judge.repo
    return ForgeReporter(
        stage.api,
        branch="main",
        landings=Landings(stage.api, history, branch="main"),
        contains=lambda head, commit: history.is_ancestor(commit, head),
        web_url=stage.api.web_url,
    )


def report(stage: Stage, reporter: ForgeReporter, found: Found) -> None:
    assert stage.judge.last_question is not None
    assert found.decision is not None
    reporter.report(stage.judge.last_question, found.decision)


def test_one_comment_and_a_status_follow_an_action_through_restarts(stage: Stage) -> None:
    wanted = {X: action_text("x"), Y: action_text("y")}
    number = stage.propose(stage.alice, wanted)
    merge = stage.merge(stage.alice, number)
    for _ in range(2):
        reporter = reporter_of(stage)
        report(stage, reporter, stage.outcome("x"))
        report(stage, reporter, stage.outcome("y"))
    comments = stage.repo(stage.owner, "GET", f"/issues/{number}/comments")
    assert [c["body"].startswith(MARKER) for c in comments] == [True]
    assert comments[0]["body"].count("| waiting |") == 2
    statuses = stage.repo(stage.owner, "GET", f"/commits/{merge}/statuses")
    assert {s["context"]: s["status"] for s in statuses} == {
        f"disinto/{what}": "pending" for what in ("x", "y", "x/approval", "y/approval")
    }

    stage.review(stage.boss, number)  # a merged request can still be approved
    stage.set_gate()
    found = stage.outcome("x")
    assert found.outcome == "approved"
    report(stage, reporter_of(stage), found)
    comments = stage.repo(stage.owner, "GET", f"/issues/{number}/comments")
    assert len(comments) == 1
    assert comments[0]["body"].count("| approved |") == 1
    combined = stage.repo(stage.owner, "GET", f"/commits/{merge}/status")
    states = {s["context"]: s["status"] for s in combined["statuses"]}
    assert states["disinto/x/approval"] == "success"
    assert states["disinto/x"] == "pending", "it has not run yet"


def test_dispatch_opens_one_request(stage: Stage) -> None:
    stage.push_branch(stage.alice, {X: action_text("x")}, branch="dispatch/x")
    opened = [
        stage.api.open_request(head="dispatch/x", base="main", title="Run x", body="why")
        for _ in range(2)
    ]
    assert opened[0].number == opened[1].number
    assert opened[0].html_url.startswith(stage.server.url)
    found = stage.api.request(opened[0].number)
    assert found is not None
    assert not found.merged
    with pytest.raises(ForgeRefused):
        stage.api.open_request(head="no/such", base="main", title="Run x", body="why")


def test_more_reviews_than_a_page_holds(stage: Stage) -> None:
    number = stage.propose(stage.alice, {X: action_text("x")})
    stage.review(stage.boss, number)
    for _ in range(54):
        stage.repo(
            stage.carol, "POST", f"/pulls/{number}/reviews", {"event": "COMMENT", "body": "hm"}
        )
    stage.merge(stage.alice, number)
    assert stage.outcome().outcome == "approved"
    stage.repo(
        stage.boss, "POST", f"/pulls/{number}/reviews", {"event": "REQUEST_CHANGES", "body": "no"}
    )  # the 56th, on the second page
    assert len(stage.api.reviews(number)) == 56
    stage.set_gate()
    found = stage.outcome()
    assert found.outcome == "waiting"
    assert "rejected it" in found.reason


def test_a_deleted_approver_does_not_count(stage: Stage) -> None:
    leaver = stage.server.account("leaver")
    stage.allow(leaver, "admin")
    number = stage.propose(stage.alice, {X: action_text("x")})
    stage.review(leaver, number)
    stage.merge(stage.alice, number)
    assert stage.outcome().outcome == "approved"
    stage.server.admin.call("DELETE", f"/admin/users/{leaver.login}")
    stage.set_gate()
    assert stage.outcome().outcome == "waiting"


def test_doctor_tries_a_push_with_what_the_forge_tells_of_it(stage: Stage, tmp_path: Path) -> None:
    """A token without the scope is found. A reader's account is not: the forge lets it begin a
    push, since it might open a pull request by it.
    """

    def pushes(account: Account) -> Check:
        settings = Settings.model_validate(
            {
                "state_dir": str(tmp_path / account.token),
                "ops_repo": {
                    "remote": f"{stage.server.url}/{stage.repository}.git",
                    "username": account.login,
                    "token_env": "FORGE_TOKEN",
                },
            }
        )
        repo = open_repo(settings, {"FORGE_TOKEN": account.token})
        found = diagnose(settings, doctor_openers(settings, os.environ, repo=repo), {})
        return next(check for check in found if check.name == "ops repo: push")

    assert pushes(stage.alice).ok
    narrow = pushes(stage.alice.with_scopes("read:repository"))
    assert not narrow.ok
    assert "able to read and write" in narrow.remedy
    assert pushes(stage.passer_by).ok


def test_a_team_approves(stage: Stage) -> None:
    org = f"org{stage.repository.split('/')[1]}{stage.owner.login}"
    stage.owner.call("POST", "/orgs", {"username": org})
    team = stage.owner.call(
        "POST", f"/orgs/{org}/teams",
        {"name": "Approvers", "permission": "write", "units": ["repo.code", "repo.pulls"]},
    )  # fmt: skip
    stage.owner.call("PUT", f"/teams/{team['id']}/members/{stage.carol.login}")
    stage.set_gate(Approvers(team=f"{org}/approvers"))
    first = stage.propose(stage.alice, {X: action_text("x")}, branch="first")
    stage.review(stage.carol, first)
    stage.merge(stage.alice, first)
    assert stage.outcome("x").outcome == "approved"
    second = stage.propose(stage.alice, {Y: action_text("y")}, branch="second")
    stage.review(stage.boss, second)
    stage.merge(stage.alice, second)
    assert stage.outcome("y").outcome == "waiting"


def test_the_calls_for_an_action_are_few_and_none_at_rest(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("caching.KEPT_S", "forgejo.FRESH_S"):  # a slow machine is not what this is about
        monkeypatch.setattr(f"dispatcher.gate.{name}", 600.0)
    wanted = {action_path(f"x{n}"): action_text(f"x{n}") for n in range(5)}
    stage.land(stage.alice, stage.propose(stage.alice, wanted))
    before = stage.api.calls
    assert stage.outcome("x0").outcome == "approved"
    first = stage.api.calls - before
    assert first <= 14
    for n in range(1, 5):
        assert stage.outcome(f"x{n}").outcome == "approved"
    assert stage.api.calls - before <= first + 4 * 2 + 4 * 8
    before = stage.api.calls
    for _ in range(20):
        assert stage.outcome("x0").outcome == "approved"
    assert stage.api.calls == before


SECRET = "a secret of the webhook"


@contextmanager
def hooked(stage: Stage) -> Iterator[threading.Event]:
    """The listener, and a webhook on the forge that calls it."""
    rung = threading.Event()
    health = Health(leader=True, beat_at=0, started_at=0)
    app = App(
        health=lambda: health,
        metrics=Metrics(),
        wake=rung.set,
        hook=PushHook(secret=SECRET.encode(), repository=stage.repository, branch="main"),
    )
    with Listener(app, listen="127.0.0.1:0") as listener:
        config = {
            "url": f"http://127.0.0.1:{listener.port}/hooks/push",
            "content_type": "json",
            "secret": SECRET,
        }
        wanted = {"type": "forgejo", "active": True, "events": ["push"], "config": config}
        stage.repo(stage.owner, "POST", "/hooks", wanted)
        yield rung


def test_a_merge_rings_and_the_gate_knows_at_once(stage: Stage) -> None:
    with hooked(stage) as rung:
        number = stage.propose(stage.alice, {X: action_text("x")})
        stage.review(stage.boss, number)
        rung.clear()
        stage.merge(stage.alice, number)
        assert rung.wait(30)
        found = stage.outcome()
    assert found.outcome == Answer.APPROVED, found.reason


def test_a_push_to_another_branch_does_not_ring(stage: Stage) -> None:
    with hooked(stage) as rung:
        stage.push_branch(stage.alice, {X: action_text("x")}, branch="topic")
        stage.push_main(stage.alice, {"notes": "1\n"})
        assert rung.wait(30)  # hooks come in order: the topic's call was ignored before this one
