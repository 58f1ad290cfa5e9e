"""Cancelling from an author client where the main branch is protected: by pull request, on a real
forge.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Exit
from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.support.approval_story import Story, told
from tests.support.desk_stage import AuthorsDesk
from tests.support.stage import action, eventually, path

pytestmark = pytest.mark.needs("bao", "forgejo", "git")


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Iterator[Story]:
    with told(forge, bao_server, tmp_path) as story:
        story.forge.protect_main()
        story.stage.scheduler.ends_at_once = False
        yield story


@pytest.fixture
def alice(story: Story, tmp_path: Path) -> AuthorsDesk:
    return AuthorsDesk.on_forge(
        story.stage.scene, tmp_path / "alice", story.forge, story.forge.alice
    )


def the_request(story: Story, *, branch: str) -> int:
    """Number of the one open pull request, which comes from this branch."""
    (request,) = story.forge.repo(story.forge.owner, "GET", "/pulls", state="open")
    assert request["head"]["ref"] == branch
    return int(request["number"])


@eventually
def noted(story: Story, action_id: str, reason: str) -> None:
    """The dispatcher shows the request to cancel as one that does not count, and why."""
    assert story.stage.watch.last is not None
    (note,) = [note for note in story.stage.watch.last.cancels if note.id == action_id]
    assert note.state == "waiting"
    assert reason in note.reason, note.reason


def asked_by_alice(story: Story, alice: AuthorsDesk, action_id: str) -> int:
    asked = alice("cancel", action_id, "--reason", "wrong cluster")
    assert asked.code == Exit.TEMPFAIL, asked.err
    assert "is not cancelled yet" in asked.err
    assert f"{story.forge.repository}/pulls/" in asked.err
    return the_request(story, branch=f"disinto/cancel/{action_id}")


def runs(story: Story, *, formula: str = "danger") -> None:
    """An action that runs, brought by a pull request."""
    people = story.forge
    number = people.propose(people.alice, {path("x"): action("x", formula=formula)})
    people.land(people.alice, number)
    story.stage.runs(1)


def test_a_run_is_stopped_by_an_approved_pull_request(story: Story, alice: AuthorsDesk) -> None:
    people = story.forge
    runs(story)
    number = asked_by_alice(story, alice, "x")
    shown = alice("status", "--json").json["open"]
    assert "proposed" in {row["state"] for row in shown if row["id"] == "x"}
    assert not story.stage.scheduler.cancelled, "nobody approved it yet"
    people.land(people.alice, number)
    result = story.result("x")
    assert result["verdict"] == "cancelled"
    assert [key.action_id for key in story.stage.scheduler.cancelled] == ["x"]
    audit = (story.stage.scene.config.parent / "state" / "audit.jsonl").read_text()
    (line,) = [line for line in audit.splitlines() if '"event":"cancelled"' in line]
    assert people.alice.login in line
    assert f"approved by {people.boss.login}" in line
    assert "wrong cluster" in line
    late = alice("cancel", "x")
    assert (late.code, "has ended" in late.err) == (Exit.FAILED, True)


def test_a_waiting_action_never_starts(story: Story, alice: AuthorsDesk) -> None:
    people = story.forge
    opened = people.propose(people.alice, {path("x"): action("x", formula="danger")})
    people.merge(people.alice, opened)
    assert "| `x` | waiting |" in story.comment(opened)
    people.land(people.alice, asked_by_alice(story, alice, "x"))
    result = story.result("x")
    assert result["verdict"] == "cancelled"
    assert f"approved by {people.boss.login}" in result["error"]
    assert "wrong cluster" in result["error"]
    people.review(people.boss, opened)  # too late
    story.stage.at_rest()
    assert story.submitted() == []


def test_at_tier_low_the_merge_is_enough(story: Story, alice: AuthorsDesk) -> None:
    """Its request goes to the branch itself, which the protection refuses."""
    runs(story, formula="hello")
    number = asked_by_alice(story, alice, "x")
    story.forge.merge(story.forge.alice, number)
    assert story.result("x")["verdict"] == "cancelled"


def test_a_request_without_an_approval_that_counts_is_refused(
    story: Story, alice: AuthorsDesk
) -> None:
    """Merged by its author, approved by somebody who may not: the run goes on, and all see why."""
    people = story.forge
    runs(story)
    number = asked_by_alice(story, alice, "x")
    people.merge(people.alice, number)
    noted(story, "x", f"#{number} was merged without an approval that counts")
    people.review(people.carol, number)
    noted(story, "x", f"{people.carol.login} approved it but may not approve actions")
    seen = alice("status", "--json")
    assert seen.code == Exit.OK, seen.err
    (note,) = seen.json["cancels"]
    assert (note["id"], note["state"]) == ("x", "waiting")
    again = alice("cancel", "x")
    assert (again.code, "in the ops repo already" in again.err) == (Exit.TEMPFAIL, True)
    assert not story.stage.scheduler.cancelled
    people.review(people.boss, number)
    assert story.result("x")["verdict"] == "cancelled"


def test_who_may_only_read_is_refused_with_the_reason(story: Story, tmp_path: Path) -> None:
    people = story.forge
    runs(story)
    desk = AuthorsDesk.on_forge(story.stage.scene, tmp_path / "reader", people, people.passer_by)
    refused = desk("cancel", "x")
    assert refused.code == Exit.NOPERM, refused.err
    assert "is not cancelled yet" not in refused.err
    assert people.repo(people.owner, "GET", "/pulls", state="open") == []
    assert not story.stage.scheduler.cancelled


def test_a_request_pushed_past_the_pull_requests_stops_nothing(story: Story) -> None:
    """By the one account that may push, which is the dispatcher's own."""
    people = story.forge
    runs(story)
    blob = people.clone(people.owner).blob(path("x"))
    request = f'id = "x"\nblob = "{blob}"\n'
    people.push_main(people.owner, {"vault/actions/x.cancel.toml": request})
    noted(story, "x", "without a merged pull request")
    assert not story.stage.scheduler.cancelled
