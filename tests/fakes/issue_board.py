"""A forge's issues in memory, as far as reports need them, and sidecars' actions beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatcher.decide.sidecar_rules import Sidecars, parse_sidecars
from dispatcher.errors import Dependency, Unavailable
from dispatcher.forge import ForgeRefused
from dispatcher.forge.issue_board import BoardIssue, Label, Owner, RepositoryInfo
from dispatcher.forge.records import Comment, User
from dispatcher.gate.ended import Ended
from dispatcher.gate.issue_report import IssueReporter
from dispatcher.model.result import Result
from dispatcher.model.verdicts import Verdict

ME, OTHER = User(id=1, login="Disinto"), User(id=2, login="mallory")
OPS_URL = "https://forge.test/acme/ops"
SIDECARS = """\
[projects.app]
repository = "acme/app"
bot = "app-reader"
[rules.reproduce]
formula = "reproduce"
labels = ["bug-report"]
without_labels = ["in-triage"]
add_labels = ["in-triage", "rejected"]
remove_labels = ["new"]
[rules.tell]
formula = "tell"
labels = ["bug-report"]
log_tail = 5
"""


class Crash(BaseException):
    """The process dies."""


@dataclass
class FakeIssueBoard:
    """One repository with one issue, 7.

    Attributes:
        labels_of: of the issue; None for a deleted issue.
        known: labels of the repository; ``exclusive``: those of which an issue has one per scope.
        writes: what was written, in order.
        down: whether no call is answered.
        crash_at: number of the call, from 1, before which the process dies.
    """

    repository: str = "acme/app"
    labels_of: set[str] | None = field(default_factory=lambda: {"bug-report", "new"})
    closed: bool = False
    known: tuple[str, ...] = ("bug-report", "new", "in-triage", "rejected")
    exclusive: set[str] = field(default_factory=set)
    said: dict[int, Comment] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    people: frozenset[str] = frozenset({"acme"})
    private: bool = True
    calls: int = 0
    down: bool = False
    crash_at: int = 0

    def _called(self, write: str = "") -> None:
        self.calls += 1
        if self.calls == self.crash_at:
            raise Crash
        if self.down:
            raise Unavailable(Dependency.FORGE, "no answer")
        if write:
            self.writes.append(write)

    def me(self) -> User:
        self._called()
        return ME

    def issue(self, number: int) -> BoardIssue | None:
        self._called()
        if self.labels_of is None or number != 7:
            return None
        labels = [self._label(name) for name in sorted(self.labels_of)]
        return BoardIssue(number=7, state="closed" if self.closed else "open", labels=labels)

    def _label(self, name: str) -> Label:
        return Label(id=self.known.index(name), name=name, exclusive=name in self.exclusive)

    def labels(self) -> Mapping[str, Label]:
        self._called()
        return {name: self._label(name) for name in self.known}

    def add_label(self, number: int, label: int) -> None:
        self._called(f"+{self.known[label]}")
        assert self.labels_of is not None
        if scope := self._label(self.known[label]).scope:
            self.labels_of -= {n for n in self.labels_of if self._label(n).scope == scope}
        self.labels_of.add(self.known[label])

    def remove_label(self, number: int, label: int) -> None:
        self._called(f"-{self.known[label]}")
        assert self.labels_of is not None
        self.labels_of.discard(self.known[label])

    def comments(self, number: int) -> Sequence[Comment]:
        self._called()
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

    def info(self) -> RepositoryInfo:
        self._called()
        owner = Owner(login="acme", visibility="public")
        return RepositoryInfo(full_name=self.repository, owner=owner, private=self.private)

    def readers(self) -> frozenset[str]:
        self._called()
        return self.people

    def file_readers(self) -> frozenset[str]:
        self._called()
        return self.people


@dataclass
class FakeActions:
    """The ops repo's actions by blob, and which of them we signed."""

    texts: dict[str, bytes] = field(default_factory=dict)
    forged: set[str] = field(default_factory=set)
    results: set[str] = field(default_factory=set)

    def blob_at(self, commit: str, path: str) -> str | None:
        return "0" * 40 if path in self.results else None

    def read(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]:
        return {blob: self.texts[blob] for blob in blobs if blob in self.texts}

    def wrote(self, data: bytes, *, action_id: str) -> bool:
        return action_id not in self.forged

    def ended(
        self,
        *,
        rule: str = "reproduce",
        attempt: int = 1,
        issue: int = 7,
        kind: str = "sidecar",
        repository: str = "acme/app",
        **changed: Any,
    ) -> Ended:
        """An action of a sidecar that ended."""
        action_id = f"{rule}-app-{issue}-{attempt}"
        blob = f"{len(self.texts) + 1:040x}"
        text = f"""id = "{action_id}"
formula = "{rule}"
context = "go"
secrets = []
[params]
rule = "{rule}"
project = "app"
repository = "{repository}"
issue_number = {issue}
[source]
kind = "{kind}"
name = "{rule}"
occasion = "issue {issue}"
signature = "{"0" * 64}:{"A" * 86}=="
"""
        self.texts[blob] = text.encode()
        verdict = changed.get("verdict", Verdict.SUCCEEDED)
        values: dict[str, Any] = {
            "id": action_id,
            "blob": blob,
            "exit_code": 0 if verdict is Verdict.SUCCEEDED else 3,
            "timestamp": "2026-01-01T00:00:00Z",
            "verdict": verdict,
            "duration_s": 12.3,
            "logs": "one\ntwo @alice\n",
        }
        result = Result(**(values | changed))
        path = f"vault/actions/{action_id}.result.json"
        self.results.add(path)
        return Ended(result=result, commit="c" * 40, path=path)


@dataclass
class IssueScene:
    """Projects, their board and reporters on it."""

    board: FakeIssueBoard = field(default_factory=FakeIssueBoard)
    ops: FakeIssueBoard = field(default_factory=lambda: FakeIssueBoard(repository="acme/ops"))
    actions: FakeActions = field(default_factory=FakeActions)
    sidecars: Sidecars = field(
        default_factory=lambda: parse_sidecars(SIDECARS.encode(), path="sidecars.toml")
    )

    def reporter(
        self,
        *,
        ops_repository: str = "acme/ops",
        led: Callable[[], None] | None = lambda: None,
    ) -> IssueReporter:
        """One that remembers nothing, of a dispatcher that leads unless ``led`` is None."""
        boards = {"acme/app": self.board, "acme/ops": self.ops}
        reporter = IssueReporter(
            boards.__getitem__,
            files=self.actions,
            written=self.actions,
            sidecars=lambda: self.sidecars,
            ops_repository=ops_repository,
            ops_web_url=OPS_URL if ops_repository else "",
        )
        if led is not None:
            reporter.lead(led)
        return reporter

    @property
    def bodies(self) -> list[str]:
        """Of all comments."""
        return [comment.body for comment in self.board.said.values()]
