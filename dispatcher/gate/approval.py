"""Decides which review of a merged pull request counts as approval. Pure: records in, a verdict
out.

A review counts when it is its author's latest decision, approves, is official, neither stale nor
dismissed, was given for the merged head and after the last push, and its author did not contribute
to the request: did not open it, did not write, commit, co-author or push any of its commits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dispatcher.forge.records import Push, Request, RequestCommit, Review, ReviewState, User
from dispatcher.model.approval_need import People

CO_AUTHOR = re.compile(r"^co-authored-by:.*<([^<>\s]+)>\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """Everything from the forge about a merged request that a decision is based on.

    Attributes:
        request: the request.
        head: the commit (hex) that was merged, from ``refs/pull/<n>/head``.
        reviews, pushes, commits: all of them.
    """

    request: Request
    head: str
    reviews: Sequence[Review]
    pushes: Sequence[Push]
    commits: Sequence[RequestCommit]

    @property
    def head_in_doubt(self) -> str | None:
        """The head by the forge's record of pushes, if it differs; else None.

        On some forges (observed with Forgejo 7.0) anybody with write permission can push to
        ``refs/pull/<n>/head``, also after the merge; nobody can edit the record of pushes.
        """
        recorded = [push.commit_ids[-1] for push in self.pushes if push.commit_ids]
        return recorded[-1] if recorded and recorded[-1] != self.head else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewCandidate:
    """A review that counts if its author may approve and owns none of the commits' addresses."""

    user: User
    review: Review


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighed:
    """Reviews, classified.

    Attributes:
        candidates: those that may count, the earliest first.
        passed_over: for each other decision, why it does not count, for people.
        addresses: e-mail addresses (lower case) of the commits' contributors.
        involved: accounts that contributed, by name (lower case).
    """

    candidates: tuple[ReviewCandidate, ...]
    passed_over: tuple[str, ...]
    addresses: frozenset[str]
    involved: frozenset[str]


def weigh(submission: Submission, people: People) -> Weighed:
    """Classify the reviews of a submission.

    Args:
        people: whose other accounts contributed as well.
    """
    involved = _involved(submission)
    by_person = {people.person(name): how for name, how in involved.items()}
    last_push = max((push.created_at for push in submission.pushes), default=None)
    candidates, passed_over = [], []
    for user, review in _latest(submission.reviews):
        why_not = by_person.get(people.person(user.name)) or _fault(
            review, submission.head, last_push
        )
        if why_not:
            passed_over.append(f"{user.login} {why_not}")
        else:
            candidates.append(ReviewCandidate(user=user, review=review))
    return Weighed(
        candidates=tuple(candidates),
        passed_over=tuple(passed_over),
        addresses=_addresses(submission.commits),
        involved=frozenset(involved),
    )


def approving(reviews: Iterable[Review]) -> list[User]:
    """Accounts whose latest decision approves, as far as the reviews alone tell, the earliest first."""
    return [
        user
        for user, review in _latest(reviews)
        if review.state == ReviewState.APPROVED
        and review.official
        and not (review.stale or review.dismissed)
    ]


def _latest(reviews: Iterable[Review]) -> list[tuple[User, Review]]:
    """Each account's latest approval or rejection; comments and requests decide nothing.

    Reviews of deleted accounts do not count.
    """
    latest: dict[str, tuple[User, Review]] = {}
    for review in sorted(reviews, key=lambda r: (r.submitted_at, r.id)):
        if review.user is not None and review.state in set(ReviewState):
            latest[review.user.name] = (review.user, review)
    return sorted(latest.values(), key=lambda pair: (pair[1].submitted_at, pair[1].id))


def _fault(review: Review, head: str, last_push: datetime | None) -> str | None:
    """Why this decision of an uninvolved account does not count; None if it may."""
    reviewed = review.commit_id[:12] or "no commit"
    faults = (
        (review.state != ReviewState.APPROVED, "rejected it"),
        (review.dismissed, "approved it, and that was dismissed"),
        (review.commit_id != head, f"approved {reviewed}, not the merged {head[:12]}"),
        (review.stale, "approved it before it changed"),
        (
            last_push is not None and review.submitted_at < last_push,
            "approved it before the last push",
        ),
        (not review.official, "approved it without the right to"),
    )
    return next((what for true, what in faults if true), None)


def _involved(submission: Submission) -> dict[str, str]:
    """Accounts that contributed to the request, by name, and how."""
    involved: dict[str, str] = {}
    for push in submission.pushes:
        if push.user is not None:
            involved[push.user.name] = "pushed to it"
    for commit in submission.commits:
        for user in (commit.author, commit.committer):
            if user is not None:
                involved[user.name] = f"wrote its commit {commit.sha[:12]}"
    if submission.request.user is not None:
        involved[submission.request.user.name] = "opened it"
    return involved


def _addresses(commits: Iterable[RequestCommit]) -> frozenset[str]:
    addresses: set[str] = set()
    for entry in commits:
        addresses.update((entry.commit.author.email, entry.commit.committer.email))
        addresses.update(CO_AUTHOR.findall(entry.commit.message))
    return frozenset(address.strip().lower() for address in addresses) - {""}
