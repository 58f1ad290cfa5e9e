"""A forge's statuses and comments on one commit, in memory, and reports on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatcher.forge import ForgeRefused
from dispatcher.forge.records import Comment, Status, User
from dispatcher.gate.landing import Landing
from dispatcher.gate.report import ForgeReporter

EARLIER, LANDED = "b" * 40, "c" * 40
ME, OTHER = User(id=1, login="Disinto"), User(id=2, login="mallory")
WEB_URL = "https://forge.test/acme/ops"


@dataclass
class FakeBoard:
    """A forge's statuses and comments.

    Attributes:
        said: comments by id.
        shown: statuses, the latest last.
        writes: what was written, in order.
        fault: raised by every call.
        no_comments: raised when comments are listed.
        crash_at: number of the call, from 1, before which the process dies.
    """

    said: dict[int, Comment] = field(default_factory=dict)
    shown: list[Status] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    calls: int = 0
    fault: Exception | None = None
    no_comments: Exception | None = None
    crash_at: int = 0

    def _called(self, write: str = "") -> None:
        self.calls += 1
        if self.calls == self.crash_at:
            raise KeyboardInterrupt
        if self.fault:
            raise self.fault
        if write:
            self.writes.append(write)

    def me(self) -> User:
        self._called()
        return ME

    def statuses(self, commit: str) -> Sequence[Status]:
        self._called()
        return list(reversed(self.shown))

    def set_status(
        self, commit: str, *, context: str, state: str, description: str, target_url: str = ""
    ) -> None:
        self._called(f"status {state}")
        assert commit == LANDED
        self.shown.append(
            Status(context=context, status=state, description=description, target_url=target_url)
        )

    def comments(self, number: int) -> Sequence[Comment]:
        self._called()
        if self.no_comments:
            raise self.no_comments
        return list(self.said.values())

    def add_comment(self, number: int, body: str) -> Comment:
        self._called("add")
        comment = Comment(id=len(self.said) + 1, user=ME, body=body)
        self.said[comment.id] = comment
        return comment

    def edit_comment(self, comment: int, body: str) -> Comment:
        self._called("edit")
        if comment not in self.said:
            raise ForgeRefused("the forge answered 404", status=404)
        self.said[comment] = Comment(id=comment, user=ME, body=body)
        return self.said[comment]

    @property
    def states(self) -> dict[str, str]:
        """The latest state of each context."""
        return {status.context: status.status for status in self.shown}


@dataclass
class FakeLandings:
    """Every action came by one request, or directly (0)."""

    request: int = 5
    calls: int = 0

    def of(self, *, path: str, commit: str) -> Landing | None:
        self.calls += 1
        return Landing(commit=LANDED, request=self.request)


def reporter_of(board: FakeBoard, *, request: int = 5, **more: Any) -> ForgeReporter:
    """A reporter that remembers nothing."""
    return ForgeReporter(
        board,
        branch="main",
        landings=FakeLandings(request),
        contains=lambda head, commit: (commit, head) != (LANDED, EARLIER),
        web_url=WEB_URL,
        **more,
    )
