"""The whole of approval, with a real forge, git over HTTP, OpenBao, webhook and service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.approval_story import Story, told
from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.stage import action, eventually, path

pytestmark = pytest.mark.needs("bao", "forgejo", "git")


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Iterator[Story]:
    with told(forge, bao_server, tmp_path) as story:
        yield story


def test_an_approved_request_runs_once_and_says_who_approved(story: Story) -> None:
    people = story.forge
    number = people.propose(people.alice, {path("x"): action("x", formula="danger")})
    people.land(people.alice, number)
    result = story.result("x")
    assert result["verdict"] == "succeeded"
    assert result["approved_by"] == [people.boss.login]
    assert result["tier"] == "high"
    assert story.submitted() == ["x"]


def test_an_unapproved_merge_waits_is_told_and_runs_when_it_is_approved(story: Story) -> None:
    people = story.forge
    number = people.propose(people.alice, {path("x"): action("x", formula="danger")})
    people.merge(people.alice, number)
    assert "| `x` | waiting |" in story.comment(number)
    low = people.propose(people.alice, {path("y"): action("y")}, branch="low")
    people.merge(people.alice, low)
    story.result("y")  # low needs nobody, and the one that waits holds nobody up
    assert story.submitted() == ["y"]
    people.review(people.boss, number)
    assert story.result("x")["approved_by"] == [people.boss.login]
    assert "| `x` | approved |" in eventually(lambda: _approved(story, number))()
    assert story.submitted() == ["y", "x"]


def _approved(story: Story, number: int) -> str:
    body = story.comment(number)
    assert "approved" in body
    return body


def test_a_direct_push_never_runs(story: Story) -> None:
    people = story.forge
    people.push_main(people.boss, {path("x"): action("x", formula="danger")})
    low = people.propose(people.alice, {path("y"): action("y")})
    people.merge(people.alice, low)
    story.result("y")
    assert story.submitted() == ["y"]
    head = people.clone(people.owner).git("rev-parse", "HEAD")
    assert "x.result.json" not in people.clone(people.owner).git(
        "ls-tree", "-r", "--name-only", head
    )
