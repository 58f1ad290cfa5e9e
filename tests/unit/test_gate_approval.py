"""Which review counts, for every way in which one may not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from dispatcher.forge.records import (
    BranchEnd,
    GitCommit,
    Identity,
    Push,
    Request,
    RequestCommit,
    Review,
    User,
)
from dispatcher.gate.approval import Submission, weigh
from dispatcher.model.approval_need import People

HEAD = "a" * 40
OLD = "b" * 40
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def user(name: str) -> User:
    return User(id=hash(name) % 10_000 + 1, login=name)


def review(
    name: str | None = "boss",
    *,
    number: int = 1,
    state: str = "APPROVED",
    commit: str = HEAD,
    at: int = 10,
    stale: bool = False,
    official: bool = True,
    dismissed: bool = False,
) -> Review:
    return Review(
        id=number,
        user=user(name) if name else None,
        state=state,
        commit_id=commit,
        stale=stale,
        official=official,
        dismissed=dismissed,
        submitted_at=NOON + timedelta(minutes=at),
    )


def commit(
    author: str | None = "alice",
    committer: str | None = "alice",
    *,
    email: str = "alice@example.test",
    message: str = "",
) -> RequestCommit:
    return RequestCommit(
        sha=HEAD,
        commit=GitCommit(
            author=Identity(email=email), committer=Identity(email=email), message=message
        ),
        author=user(author) if author else None,
        committer=user(committer) if committer else None,
    )


def push(name: str = "alice", *, at: int = 5, to: str = HEAD) -> Push:
    return Push(user=user(name), created_at=NOON + timedelta(minutes=at), commit_ids=[to])


def submission(
    *reviews: Review,
    pushes: tuple[Push, ...] = (),
    commits: tuple[RequestCommit, ...] = (commit(),),
    author: str | None = "alice",
) -> Submission:
    request = Request(
        number=1,
        state="closed",
        merged=True,
        merge_commit_sha="c" * 40,
        merge_base="d" * 40,
        user=user(author) if author else None,
        base=BranchEnd(ref="main", sha="e" * 40),
        head=BranchEnd(ref="topic", sha=HEAD),
    )
    return Submission(request=request, head=HEAD, reviews=reviews, pushes=pushes, commits=commits)


def names(found: Submission) -> list[str]:
    return [candidate.user.login for candidate in weigh(found, People()).candidates]


def test_an_approval_of_the_merged_head_counts() -> None:
    assert names(submission(review())) == ["boss"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (review(state="REQUEST_CHANGES"), "rejected it"),
        (review(commit=OLD), "approved bbbbbbbbbbbb, not the merged aaaaaaaaaaaa"),
        (review(commit=""), "approved no commit, not the merged aaaaaaaaaaaa"),
        (review(stale=True), "before it changed"),
        (review(dismissed=True), "dismissed"),
        (review(official=False), "without the right to"),
        (review("Alice"), "opened it"),
    ],
)
def test_a_review_that_does_not_count_is_named_with_its_fault(bad: Review, why: str) -> None:
    weighed = weigh(submission(bad), People())
    assert weighed.candidates == ()
    assert len(weighed.passed_over) == 1
    assert why in weighed.passed_over[0]


@pytest.mark.parametrize(
    "state", ["COMMENT", "PENDING", "REQUEST_REVIEW", "", "approved", "DISMISSED"]
)
def test_other_states_say_nothing(state: str) -> None:
    weighed = weigh(submission(review(state=state)), People())
    assert (weighed.candidates, weighed.passed_over) == ((), ())
    assert names(submission(review(), review(number=2, state=state, at=20))) == ["boss"]


def test_the_same_persons_later_rejection_undoes_an_approval() -> None:
    rejection = review(number=2, state="REQUEST_CHANGES", at=20)
    assert names(submission(review(), rejection)) == []
    assert names(submission(rejection, review())) == []  # whatever the order of the list
    assert names(submission(review(), rejection, review(number=3, at=30))) == ["boss"]
    assert names(submission(review("Boss"), rejection)) == []  # logins have no case


def test_a_dismissed_rejection_does_not_bring_the_approval_back() -> None:
    rejection = review(number=2, state="REQUEST_CHANGES", at=20, dismissed=True)
    assert names(submission(review(), rejection)) == []


def test_of_two_decisions_in_one_second_the_later_one_counts() -> None:
    rejection = review(number=2, state="REQUEST_CHANGES")
    assert names(submission(review(number=1), rejection)) == []


def test_another_persons_rejection_does_not_undo_an_approval() -> None:
    assert names(submission(review(), review("carol", number=2, state="REQUEST_CHANGES"))) == [
        "boss"
    ]


def test_a_push_after_the_approval_undoes_it() -> None:
    assert names(submission(review(at=10), pushes=(push(at=11),))) == []
    assert names(submission(review(at=10), pushes=(push(at=9),))) == ["boss"]


def test_the_record_of_pushes_tells_when_the_head_was_moved() -> None:
    assert submission(review()).head_in_doubt is None
    assert submission(review(), pushes=(push(to=OLD), push())).head_in_doubt is None
    assert submission(review(), pushes=(push(), push(to=OLD))).head_in_doubt == OLD


@pytest.mark.parametrize(
    "hand",
    [
        {"commits": (commit("boss", "alice"),)},
        {"commits": (commit("alice", "BOSS"),)},
        {"commits": (commit(), commit("boss"))},
        {"pushes": (push("boss", at=1),)},
        {"author": "boss"},
    ],
)
def test_whoever_had_a_hand_in_it_does_not_approve(hand: dict[str, object]) -> None:
    assert names(submission(review(), **hand)) == []  # type: ignore[arg-type]


def test_deleted_accounts_are_nobody() -> None:
    assert weigh(submission(review(None)), People()).passed_over == ()


def test_every_address_of_the_commits_is_kept_for_comparison() -> None:
    text = (
        "Fix\n\nCo-authored-by: Boss Two <Boss2@Example.test>\nco-authored-by: X <x@example.test>"
    )
    found = submission(
        review(), commits=(commit(None, None, email="Bot@example.test", message=text),)
    )
    assert weigh(found, People()).addresses == {
        "bot@example.test",
        "boss2@example.test",
        "x@example.test",
    }


people = st.sampled_from(["alice", "boss", "Boss", "carol", "dave"])
rarely = st.sampled_from([False] * 5 + [True])
reviews = st.builds(
    review,
    st.none() | people,
    number=st.integers(1, 50),
    state=st.sampled_from(["APPROVED"] * 4 + ["REQUEST_CHANGES", "COMMENT", "PENDING", ""]),
    commit=st.sampled_from([HEAD] * 4 + [OLD, ""]),
    at=st.integers(0, 20),
    stale=rarely,
    official=rarely.map(lambda rare: not rare),
    dismissed=rarely,
)
pushes = st.builds(push, people, at=st.integers(0, 20))
commits = st.builds(commit, st.none() | people, st.none() | people)


def test_the_reviews_lead_to_candidates() -> None:
    """Also beside others who pushed, or else the property below would hold of nothing."""
    find(
        st.tuples(st.lists(reviews, max_size=4), st.lists(pushes, min_size=1, max_size=4)),
        lambda both: bool(weigh(submission(*both[0], pushes=tuple(both[1])), People()).candidates),
        settings=settings(max_examples=2_000, deadline=None, phases=[Phase.generate]),
    )


@given(
    said=st.lists(reviews, max_size=12, unique_by=lambda r: r.id),
    pushed=st.lists(pushes, max_size=4),
    made=st.lists(commits, max_size=4),
    author=st.none() | people,
)
def test_whoever_counts_has_every_quality(
    said: list[Review], pushed: list[Push], made: list[RequestCommit], author: str | None
) -> None:
    found = submission(*said, pushes=tuple(pushed), commits=tuple(made), author=author)
    weighed = weigh(found, People())
    involved = {u.name for c in made for u in (c.author, c.committer) if u}
    involved |= {e.user.name for e in pushed if e.user} | ({author.lower()} if author else set())
    for candidate in weighed.candidates:
        own = [r for r in said if r.user and r.user.name == candidate.user.name]
        deciding = [r for r in own if r.state in ("APPROVED", "REQUEST_CHANGES")]
        last = max(deciding, key=lambda r: (r.submitted_at, r.id))
        assert last == candidate.review
        assert (last.state, last.commit_id) == ("APPROVED", HEAD)
        assert last.official
        assert not last.stale
        assert not last.dismissed
        assert candidate.user.name not in involved
        assert all(last.submitted_at >= e.created_at for e in pushed)
    approving = {r.user.name for r in said if r.user and r.state == "APPROVED"}
    assert {c.user.name for c in weighed.candidates} <= approving


@given(said=st.permutations([review(), review("carol", number=2), review("dave", number=3, at=9)]))
def test_the_order_of_the_list_does_not_matter(said: list[Review]) -> None:
    assert names(submission(*said)) == ["dave", "boss", "carol"]
