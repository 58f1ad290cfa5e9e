"""Approvals that are taken back on a real forge between the check and the start: the action waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.support.approval_story import Story, told
from tests.support.stage import action, eventually, path

pytestmark = pytest.mark.needs("bao", "forgejo", "git")

TakeBack = Callable[[Story, int, int], None]
"""Given the story, the pull request's number and the review's."""


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Iterator[Story]:
    """One place, and no webhook: nobody tells the dispatcher that anything changed."""
    with told(forge, bao_server, tmp_path, poll_s=0.2, hook=False, places=1) as story:
        story.stage.scheduler.ends_at_once = False
        yield story


def deleted(story: Story, number: int, review: int) -> None:
    """What there is instead of a dismissal, which Forgejo refuses once the request is merged."""
    people = story.forge
    people.repo(people.boss, "DELETE", f"/pulls/{number}/reviews/{review}")


def rejected(story: Story, number: int, _review: int) -> None:
    people = story.forge
    body = {"event": "REQUEST_CHANGES", "body": "on second thoughts, no"}
    people.repo(people.boss, "POST", f"/pulls/{number}/reviews", body)


def not_an_approver(story: Story, _number: int, _review: int) -> None:
    story.forge.allow(story.forge.boss, "write")


@eventually
def waits(story: Story, action_id: str, reason: str) -> None:
    assert story.stage.watch.last is not None
    reasons = {wait.action_id: wait.reason for wait in story.stage.watch.last.plan.waits}
    assert reason in reasons.get(action_id, ""), reasons


def approved(story: Story, action_id: str) -> tuple[int, int]:
    """An action that is merged and approved: the numbers of its pull request and of the review."""
    people = story.forge
    text = action(action_id, formula="danger")
    number = people.propose(people.alice, {path(action_id): text}, branch=action_id)
    review = people.review(people.boss, number)
    people.merge(people.alice, number)
    return number, review


def end(story: Story, action_id: str) -> None:
    (key,) = story.stage.scheduler.running()
    assert key.action_id == action_id
    story.stage.scheduler.end(key)


@pytest.mark.parametrize(
    ("take_back", "reason"),
    [
        (deleted, "nobody reviewed it"),
        (rejected, "rejected it"),
        (not_an_approver, "may not approve actions"),
    ],
    ids=["deleted", "rejected", "not an approver"],
)
def test_what_is_approved_no_more_does_not_take_its_place(
    story: Story, take_back: TakeBack, reason: str
) -> None:
    people = story.forge
    approved(story, "first")
    story.stage.runs(1)
    number, review = approved(story, "second")
    waits(story, "second", "1 runs in flight")
    take_back(story, number, review)
    people.next_second()
    people.next_second()  # an answer serves for a second
    end(story, "first")
    story.result("first")
    waits(story, "second", reason)
    assert story.submitted() == ["first"]
    people.allow(people.boss, "admin")
    people.review(people.boss, number)
    story.stage.service.look_now()
    story.stage.runs(1)
    assert story.submitted() == ["first", "second"]
