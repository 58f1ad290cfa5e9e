"""What the small forge of ``issue_forge`` holds: accounts, repositories, issues and their time lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = Any
_MENTION = re.compile(
    r"(?:(?<![\w./-])(?P<repo>[\w.-]{1,100}/[\w.-]{1,100}))?#(?P<number>[1-9][0-9]*)"
)
_RANKS = ("none", "read", "write", "admin", "owner")


class Refused(Exception):
    """A call that the forge answers with an error of this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class StoredIssue:
    """An issue or pull request.

    Attributes:
        labels: their ids, in the order in which they were set.
        created, updated: seconds since the epoch.
        events: the time line, oldest first.
    """

    number: int
    title: str
    body: str
    user: str
    state: str = "open"
    pull: bool = False
    labels: dict[int, None] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0
    events: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class StoredRepository:
    """A repository.

    Attributes:
        rights: by login.
        labels: names by id; ``exclusive``: of which an issue has one per scope.
        issues: by number.
        last: the highest number that was given to an issue.
    """

    name: str
    rights: dict[str, str] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    exclusive: set[int] = field(default_factory=set)
    issues: dict[int, StoredIssue] = field(default_factory=dict)
    last: int = 0
    private: bool = False

    def scope(self, label: int) -> str:
        """Of an exclusive label, what is before its last slash; "" for any other."""
        return self.labels[label].rpartition("/")[0] if label in self.exclusive else ""

    def may(self, login: str, right: str) -> bool:
        """Whether an account has a right, or a higher one."""
        has = self.rights.get(login, "none" if self.private else "read")
        return _RANKS.index(has) >= _RANKS.index(right)


@dataclass
class ForgeState:
    """All of it. Not thread-safe.

    Attributes:
        clock: seconds since the epoch.
        repositories: by name in lower case.
        logins: by token.
    """

    clock: Callable[[], float]
    repositories: dict[str, StoredRepository] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict)
    _ids: int = 0

    def next_id(self) -> int:
        """An id that nothing has yet."""
        self._ids += 1
        return self._ids

    def label(self, repository: StoredRepository, name: str) -> int:
        """The id of a label, which is made if there is none of this name."""
        for number, known in repository.labels.items():
            if known == name:
                return number
        number = self.next_id()
        repository.labels[number] = name
        return number

    def open_issue(
        self, repository: StoredRepository, login: str, title: str, body: str, *, pull: bool
    ) -> StoredIssue:
        """A new issue, or pull request."""
        repository.last += 1
        now = self.clock()
        issue = StoredIssue(
            number=repository.last,
            title=title,
            body=body,
            user=login,
            pull=pull,
            created=now,
            updated=now,
        )
        repository.issues[issue.number] = issue
        self.mention(repository, issue, login)
        return issue

    def mention(self, repository: StoredRepository, issue: StoredIssue, login: str) -> None:
        """Note in the time lines of the issues that a body names who names them."""
        for match in _MENTION.finditer(issue.body):
            other = self.repositories.get((match["repo"] or repository.name).lower())
            target = other.issues.get(int(match["number"])) if other else None
            if target is None or target is issue:
                continue
            known = [e.get("from") for e in target.events if e["type"] == "issue_ref"]
            if (repository.name, issue.number) not in known:
                origin = (repository.name, issue.number)
                target.events.append(
                    {"type": "issue_ref", "user": login, "body": "", "from": origin}
                )
                target.updated = self.clock()

    def set_label(
        self, repository: StoredRepository, issue: StoredIssue, label: int, login: str
    ) -> None:
        """Set a label; one that is set already changes nothing. An exclusive one replaces that of its scope.

        Raises:
            Refused: the repository has no such label.
        """
        if label not in repository.labels:
            raise Refused(404, "label does not exist")
        if label in issue.labels:
            return
        scope = repository.scope(label)
        for other in [each for each in issue.labels if scope and repository.scope(each) == scope]:
            self.unset_label(issue, other, login)
        issue.labels[label] = None
        issue.events.append({"type": "label", "user": login, "body": "1", "label": label})
        issue.updated = self.clock()

    def unset_label(self, issue: StoredIssue, label: int, login: str) -> None:
        """Remove a label; one that is not set changes nothing."""
        if label not in issue.labels:
            return
        del issue.labels[label]
        issue.events.append({"type": "label", "user": login, "body": "", "label": label})
        issue.updated = self.clock()
