"""What the forge says of a pull request, asked for all at once: each answer may have to cross an ocean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TypeVar

from dispatcher.forge.records import Permission, Push, RequestCommit, Review
from dispatcher.gate.approval import approving
from dispatcher.gate.approvers import Forge

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestRecords:
    """The answers, while they are under way.

    Attributes:
        number: of the request.
        asked_in: how often answers had been invalidated when they were asked for.
        asked_at: when (monotonic seconds), if that was before the question; None otherwise.
        reviews, pushes, commits: all of them.
        permissions: of those who approved, by login; complete once ``reviews`` is.
        lasts_s: seconds for which they are still waited for; None if it is for as long as it takes.
    """

    number: int
    asked_in: tuple[int, int]
    asked_at: float | None
    reviews: Future[Sequence[Review]]
    pushes: Future[Sequence[Push]]
    commits: Future[Sequence[RequestCommit]]
    permissions: dict[str, Future[Permission | None]]
    lasts_s: Callable[[], float | None] = lambda: None

    def answer(self, of: Future[T]) -> T:
        """One of the answers.

        Raises:
            TimeoutError: it was not here in time.
        """
        return of.result(timeout=self.lasts_s())

    def head(self, forge: Forge) -> str | None:
        """The commit that was merged, from ``refs/pull/<n>/head``; None if the forge does not report it.
        It heads the request's commits, which the forge lists from the same ref. Errors as ``answer``.
        """
        return newest(self.answer(self.commits)) or forge.merged_head(self.number)


def ask(
    forge: Forge,
    threads: Executor,
    number: int,
    *,
    asked_in: tuple[int, int] = (0, 0),
    asked_at: float | None = None,
    lasts_s: Callable[[], float | None] = lambda: None,
    most_permissions: int = 0,
) -> RequestRecords:
    """Ask for all of them, without waiting for the answers.

    Args:
        most_permissions: for how many of those who approved their permission is asked for as well, as soon
            as the reviews are known.
    """
    permissions: dict[str, Future[Permission | None]] = {}

    def reviews() -> Sequence[Review]:
        given = forge.reviews(number)
        for user in approving(given)[:most_permissions]:
            permissions[user.login] = threads.submit(forge.permission, user.login)
        return given

    return RequestRecords(
        number=number,
        asked_in=asked_in,
        asked_at=asked_at,
        lasts_s=lasts_s,
        reviews=threads.submit(reviews),
        commits=threads.submit(forge.request_commits, number),
        pushes=threads.submit(forge.pushes, number),
        permissions=permissions,
    )


def newest(commits: Sequence[RequestCommit]) -> str | None:
    """The commit (hex) of which no other of them descends, in whatever order they are; None unless it is
    one.
    """
    parents = {parent.sha for commit in commits for parent in commit.parents}
    ends = {commit.sha for commit in commits} - parents
    return ends.pop() if len(ends) == 1 else None
