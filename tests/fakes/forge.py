"""A forge with pull requests and reviews, the history beside it, and a gate over both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.forge.records import (
    BranchEnd,
    GitCommit,
    Identity,
    Permission,
    Push,
    Request,
    RequestCommit,
    Review,
    User,
)
from dispatcher.gate import Decision, Question
from dispatcher.gate.approvers import Approvers
from dispatcher.gate.forgejo import ForgejoGate
from dispatcher.model.approval_need import PLAIN
from dispatcher.model.run import Tier
from dispatcher.ops_repo.lineage import Change, Lineage

PATH = "vault/actions/x.toml"


BLOB, OTHER = "1" * 40, "2" * 40


BASE, TOPIC, MERGE, HEAD = "a" * 40, "b" * 40, "c" * 40, "d" * 40


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def user(name: str) -> User:
    return User(id=len(name) + 1, login=name, email=f"{name}@example.test")


def request(number: int = 5, **changed: Any) -> Request:
    plain = Request(
        number=number,
        state="closed",
        merged=True,
        merge_commit_sha=MERGE,
        merge_base=BASE,
        user=user("alice"),
        base=BranchEnd(ref="main", sha=MERGE),
        head=BranchEnd(ref="topic", sha=TOPIC),
    )
    return plain.model_copy(update=changed)


def review(name: str = "boss", *, number: int = 1) -> Review:
    return Review(
        id=number,
        user=user(name),
        state="APPROVED",
        commit_id=TOPIC,
        stale=False,
        official=True,
        dismissed=False,
        submitted_at=NOON + timedelta(seconds=number),
    )


@dataclass
class FakeForge:
    """A forge with one merged and approved request; each attribute can be made otherwise."""

    direct: Request | None = None
    closed: list[list[Request]] = field(default_factory=lambda: [[request()]])
    head: str | None = TOPIC
    blobs: dict[tuple[str, str], str] = field(default_factory=lambda: {(TOPIC, PATH): BLOB})
    said: list[Review] = field(default_factory=lambda: [review()])
    permissions: dict[str, str] = field(default_factory=lambda: {"boss": "admin"})
    members: dict[str, set[str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    authors: list[str] = field(default_factory=lambda: ["alice@example.test"])
    calls: list[str] = field(default_factory=list)
    fault: Exception | None = None

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.fault is not None:
            raise self.fault

    def request(self, number: int) -> Request | None:
        self._called("request")
        listed = (each for page in self.closed for each in page)
        return next((each for each in listed if each.number == number), None)

    def request_of(self, commit: str) -> Request | None:
        self._called("request_of")
        return self.direct

    def closed_requests(self, page: int) -> Sequence[Request]:
        self._called("closed_requests")
        return self.closed[page - 1] if page <= len(self.closed) else []

    def merged_head(self, number: int) -> str | None:
        self._called("merged_head")
        return self.head

    def blob_at(self, commit: str, path: str) -> str | None:
        self._called("blob_at")
        return self.blobs.get((commit, path))

    def reviews(self, number: int) -> Sequence[Review]:
        self._called("reviews")
        return self.said

    def pushes(self, number: int) -> Sequence[Push]:
        self._called("pushes")
        return []

    def request_commits(self, number: int) -> Sequence[RequestCommit]:
        self._called("request_commits")
        return [
            RequestCommit(
                sha=self.head,
                commit=GitCommit(author=Identity(email=a), committer=Identity(email=a)),
                author=None,
                committer=None,
            )
            for a in self.authors
            if self.head is not None
        ]

    def permission(self, login: str) -> Permission | None:
        self._called("permission")
        if login in self.gone:
            return None
        return Permission(permission=self.permissions.get(login, "none"), user=user(login))

    def user(self, login: str) -> User | None:
        self._called("user")
        return None if login in self.gone else user(login)

    def in_team(self, team: str, login: str) -> bool:
        self._called("in_team")
        return login in self.members.get(team, set())

    def team_members(self, team: str) -> Sequence[User]:
        self._called("team_members")
        return [user(name) for name in sorted(self.members.get(team, set()))]


@dataclass
class FakeHistory:
    """``TOPIC`` changed the file, ``MERGE`` brought it to the main branch, ``HEAD`` is later."""

    last: str = TOPIC
    mainline_change: str = MERGE
    rivals: tuple[str, ...] = ()
    chain: tuple[str, ...] = (MERGE, HEAD)
    order: tuple[str, ...] = (BASE, TOPIC, MERGE, HEAD)
    committed_at: int = 0
    blobs: dict[tuple[str, str], str] = field(default_factory=dict)
    taken_back: tuple[str, ...] = ()
    named: int = 0

    def lineage(self, commit: str, path: str) -> Lineage | None:
        return Lineage(
            last=Change(sha=self.last, parents=(BASE,), committed_at=0),
            rivals=self.rivals,
            mainline=Change(
                sha=self.mainline_change,
                parents=tuple(sha for sha in (BASE, TOPIC) if sha in self.order),
                committed_at=self.committed_at,
            ),
        )

    def blob_at(self, commit: str, path: str) -> str | None:
        there = commit != BASE and path.startswith("vault/actions/x")
        return self.blobs.get((commit, path), BLOB if there else None)

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        if ancestor not in self.order:
            return False
        return self.order.index(ancestor) <= self.order.index(commit)

    def mainline(self, commit: str, *, since: str, limit: int) -> Sequence[str]:
        return self.chain[self.chain.index(since) :][:limit]

    def withdrawn(self, commit: str, path: str) -> Sequence[str]:
        return self.taken_back

    def forgotten(self, approval: str, *, at: float | None = None) -> str:
        return ""

    def arrived_at(self, change: Change) -> float:
        return float(change.committed_at)

    def names_request(self, commit: str) -> int:
        return self.named


def squashed() -> FakeHistory:
    """The clone has one commit of the request, which the forge made of the others."""
    return FakeHistory(last=MERGE, order=(BASE, MERGE, HEAD))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    forge: FakeForge = field(default_factory=FakeForge)
    history: FakeHistory = field(default_factory=FakeHistory)
    approvers: Approvers = field(default_factory=Approvers)
    clock: Clock = field(default_factory=Clock)
    wall: Callable[[], float] = lambda: 4e9
    gate: ForgejoGate = field(init=False)

    def __post_init__(self) -> None:
        self.gate = ForgejoGate(
            forge=self.forge,
            history=self.history,
            branch="main",
            approvers=self.approvers,
            clock=self.clock,
            wall=self.wall,
            pause_s=0.001,
        )

    def ask(self, **changed: object) -> Decision:
        question = Question(
            action_id="x",
            path=PATH,
            blob=BLOB,
            commit=HEAD,
            tier=Tier.HIGH,
            need=PLAIN,
            formula_need=PLAIN,
        )
        return self.gate.check(replace(question, **changed))  # type: ignore[arg-type]
