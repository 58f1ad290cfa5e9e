"""Gate ``forgejo``: what it asks for, when, and what of it serves again."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from dispatcher.forge.records import (
    GitCommit,
    Identity,
    ParentCommit,
    Permission,
    Push,
    Request,
    RequestCommit,
    Review,
)
from dispatcher.gate import Answer
from dispatcher.gate.request_records import newest
from tests.fakes.forge import (
    BASE,
    HEAD,
    MERGE,
    OTHER,
    TOPIC,
    FakeForge,
    FakeHistory,
    Scene,
    request,
    review,
)

WAIT_S = 30.0


def commit(sha: str, *parents: str) -> RequestCommit:
    ann = Identity(email="ann@example.test")
    return RequestCommit(
        sha=sha,
        commit=GitCommit(author=ann, committer=ann),
        author=None,
        committer=None,
        parents=[ParentCommit(sha=parent) for parent in parents],
    )


@pytest.mark.parametrize(
    ("commits", "head"),
    [
        ([commit(TOPIC, BASE)], TOPIC),
        ([commit(TOPIC, OTHER), commit(OTHER, BASE)], TOPIC),
        ([commit(OTHER, BASE), commit(TOPIC, OTHER)], TOPIC),
        ([commit(OTHER, BASE), commit(TOPIC, OTHER, MERGE), commit(MERGE, BASE)], TOPIC),
        ([commit(OTHER, BASE), commit(TOPIC, BASE)], None),
        ([], None),
    ],
)
def test_the_head_of_a_request_is_the_end_of_its_commits(
    commits: Sequence[RequestCommit], head: str | None
) -> None:
    assert newest(commits) == head


def test_the_ref_is_asked_for_if_the_commits_do_not_tell() -> None:
    class Headless(FakeForge):
        def request_commits(self, number: int) -> Sequence[RequestCommit]:
            super().request_commits(number)
            return []

    scene = Scene(Headless())
    assert scene.ask().commit == TOPIC
    assert scene.forge.calls.count("merged_head") == 1


def test_permissions_are_asked_for_as_soon_as_the_reviews_are_known() -> None:
    asked = threading.Event()

    class Slow(FakeForge):
        def permission(self, login: str) -> Permission | None:
            asked.set()
            return super().permission(login)

        def pushes(self, number: int) -> Sequence[Push]:
            assert asked.wait(WAIT_S)  # the answer about pushes comes after that
            return super().pushes(number)

    scene = Scene(Slow())
    assert scene.ask().approved_by == ("boss",)
    assert scene.forge.calls.count("permission") == 1


@pytest.mark.parametrize(
    "changed",
    [{"state": "REQUEST_CHANGES"}, {"official": False}, {"stale": True}, {"dismissed": True}],
)
def test_no_permission_is_asked_of_whoever_did_not_approve(changed: dict[str, object]) -> None:
    scene = Scene(FakeForge(said=[review().model_copy(update=changed)]))
    assert scene.ask().answer is Answer.WAITING
    assert "permission" not in scene.forge.calls


def test_a_request_that_is_being_merged_is_looked_up_by_its_number_alone() -> None:
    class Merging(FakeForge):
        def request(self, number: int) -> Request | None:
            found = super().request(number)
            first = self.calls.count("request") == 1
            return request(number, merged=False, state="open") if first else found

    scene = Scene(Merging(), FakeHistory(named=5, committed_at=1000), wall=lambda: 1001.0)
    assert scene.ask().answer is Answer.APPROVED
    assert scene.forge.calls.count("request") == 2
    assert not {"request_of", "closed_requests"} & set(scene.forge.calls)
    assert scene.forge.calls.count("reviews") == 2, "what was said before the merge counts no more"


def test_an_open_request_that_a_commit_names_hides_none() -> None:
    """Whoever pushes writes the subject: at the second look all are searched."""
    named = request(6, merged=False, state="open", merge_commit_sha=None)
    forge = FakeForge(closed=[[named, request()]])
    scene = Scene(forge, FakeHistory(named=6, committed_at=1000), wall=lambda: 1001.0)
    assert scene.ask().request == 5


def test_of_a_merge_git_is_asked_for_no_ancestor() -> None:
    class Counted(FakeHistory):
        asked = 0

        def is_ancestor(self, ancestor: str, commit: str) -> bool:
            type(self).asked += 1
            return super().is_ancestor(ancestor, commit)

    assert Scene(history=Counted()).ask().answer is Answer.APPROVED
    assert Counted.asked == 0
    older = Counted(last=OTHER, order=(BASE, OTHER, TOPIC, MERGE, HEAD))
    assert Scene(history=older).ask().answer is Answer.APPROVED
    assert Counted.asked == 1, "the request has several commits"


def test_a_push_drops_no_approval() -> None:
    scene = Scene()
    assert scene.ask().answer is Answer.APPROVED
    calls = len(scene.forge.calls)
    scene.gate.invalidate(keep_approvals=True)
    assert scene.ask().answer is Answer.APPROVED
    assert len(scene.forge.calls) == calls
    scene.gate.invalidate()
    scene.ask()
    assert len(scene.forge.calls) > calls


def test_a_push_drops_what_waits() -> None:
    scene = Scene(FakeForge(said=[]))
    assert scene.ask().answer is Answer.WAITING
    scene.forge.said = [review()]
    scene.gate.invalidate(keep_approvals=True)
    assert scene.ask().answer is Answer.APPROVED


@pytest.mark.parametrize("official", [True, False])
def test_of_what_was_under_way_at_a_push_approvals_alone_serve_again(official: bool) -> None:
    class Pushed(FakeForge):
        def reviews(self, number: int) -> Sequence[Review]:
            if "reviews" not in self.calls:
                scene.gate.invalidate(keep_approvals=True)
            return super().reviews(number)

    scene = Scene(Pushed(said=[review().model_copy(update={"official": official})]))
    scene.ask()
    scene.ask()
    assert scene.forge.calls.count("reviews") == (1 if official else 2)
