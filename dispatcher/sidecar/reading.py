"""Reads the issues of one project: all open ones once, then only what changed.

Of an issue it keeps numbers, digests and labels, and only if some rule may apply to it. The times are the
forge's own, but never later than ours: an answer that is dated in the future would hide all that happens
until then.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from dispatcher.decide.forge_issue import Issue, SubIssue, content_digest, parents_of
from dispatcher.forge.issues import IssuePage
from dispatcher.forge.records import MAX_NUMBER, IssueEvent, ListedIssue
from dispatcher.forge.sized import SIZES

MAX_PAGES = 1_000
"""Maximum pages of one pass: 50,000 issues."""

OVERLAP_S = 5.0
"""Seconds that a pass looks further back than the start of the one before: an issue may be dated before
the moment at which the forge shows it."""

MAX_LABELS = 200
"""Maximum labels of an issue that rules look at; one that has more is ignored."""


class IssueReads(Protocol):
    """What is read from the forge; see ``dispatcher.forge.issues.IssuesApi``."""

    repository: str

    def page(self, number: int, *, state: str, since: float | None = None) -> IssuePage: ...

    def issue(self, number: int) -> ListedIssue | None: ...

    def events(self, number: int) -> Iterator[IssueEvent]: ...

    def permission(self, login: str) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLine:
    """What the time line of an issue tells.

    Attributes:
        sub_issues: the issues whose body says that they are decomposed from it.
        setters: by label, who added it last; "" if that account is gone.
    """

    sub_issues: tuple[SubIssue, ...]
    setters: Mapping[str, str]


@dataclass
class ProjectIssues:
    """The open issues of one project that rules may apply to. Not thread-safe.

    Attributes:
        issues: by number.
        complete: whether all open issues were read once.
        too_many: whether the oldest issues were left out, because there are more than are read.
        unread: issues left out of the last full pass because of their size or number.
    """

    reads: IssueReads
    relevant: Callable[[frozenset[str]], bool]
    clock: Callable[[], float] = time.time
    issues: dict[int, Issue] = field(default_factory=dict)
    complete: bool = False
    too_many: bool = False
    unread: int = 0
    _since: float = 0.0
    _updated: dict[int, datetime] = field(default_factory=dict)
    _touched: set[int] = field(default_factory=set)
    _parents: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))

    def read(self) -> bool:
        """Read all open issues, or what changed since the last time.

        Returns:
            Whether anything that rules look at changed.

        Raises:
            Unavailable, Denied: the forge; the next call continues from the last complete pass.
        """
        return self._read_changes() if self.complete else self._read_all()

    def take_touched(self) -> set[int]:
        """The issues with any update since the last call, such as a label set by somebody else."""
        touched, self._touched = self._touched, set()
        return touched

    def refresh(self, number: int) -> ListedIssue | None:
        """Read one issue; None if it is closed, gone, or no rule may apply to it any more.

        Raises:
            Unavailable, Denied: the forge.
        """
        listed = self.reads.issue(number)
        if listed is None:
            self._drop(number)
            return None
        before = self.issues.get(number)
        self._enter(listed)
        now = self.issues.get(number)
        if before is not None and now is not None:
            # what it lacks of the sub-issues is read with the time line
            self.issues[number] = replace(now, sub_issues=before.sub_issues)
        return listed if number in self.issues else None

    def time_line(self, number: int) -> TimeLine:
        """Read the time line of an issue, and note its sub-issues.

        Raises:
            Unavailable, Denied: the forge.
            TooLarge: it has too many entries.
        """
        subs: dict[int, SubIssue] = {}
        setters: dict[str, str] = {}
        for event in self.reads.events(number):
            if event.type == "label" and event.label is not None:
                if event.body == "1":
                    setters[event.label.name] = event.user.login if event.user else ""
                else:
                    setters.pop(event.label.name, None)
            elif (sub := _sub_issue(event, number, self.reads.repository)) is not None:
                subs[sub.number] = sub
        line = TimeLine(sub_issues=tuple(subs[n] for n in sorted(subs)), setters=setters)
        if number in self.issues:
            self.issues[number] = replace(self.issues[number], sub_issues=line.sub_issues)
            for sub_number in subs:
                self._parents[sub_number].add(number)
        return line

    def _read_all(self) -> bool:
        self.issues.clear()
        self._parents.clear()
        self.unread, self.too_many = 0, True
        began_at: float | None = None
        for page in self._pages(state="open", since=None):
            began_at = began_at or self._at(page)
            self.unread += page.unread
            for listed in page.issues:
                self._enter(listed)
        self._since, self.complete = began_at or self.clock(), True
        return True

    def _read_changes(self) -> bool:
        began_at: float | None = None
        before = dict(self.issues)
        for page in self._pages(state="all", since=self._since - OVERLAP_S):
            began_at = began_at or self._at(page)
            for listed in page.issues:
                self._enter(listed)
        self._since = max(self._since, began_at or 0.0)
        return before != self.issues

    def _at(self, page: IssuePage) -> float:
        """When the forge answered, seconds since the epoch."""
        now = self.clock()
        return now if page.at is None else min(page.at, now)

    def _pages(self, *, state: str, since: float | None) -> Iterator[IssuePage]:
        """All pages. If entries disappear from the list meanwhile, others move to pages that were
        read already: then these are read again.
        """
        number, total = 1, None
        for _ in range(MAX_PAGES):
            page = self.reads.page(number, state=state, since=since)
            yield page
            if page.last or (page.total is not None and number * SIZES[0] >= page.total):
                self.too_many = False
                return
            lost = (total or 0) - (page.total or 0)
            back = -(-lost // SIZES[0]) if lost > 0 else -1
            number, total = max(1, number - back), page.total
        self.too_many = True

    def _enter(self, listed: ListedIssue) -> None:
        self._unsettle(listed)
        labels = frozenset(label.name for label in listed.labels[: MAX_LABELS + 1])
        wanted = listed.state == "open" and len(labels) <= MAX_LABELS and self.relevant(labels)
        if not wanted:
            self._drop(listed.number)
            return
        issue = Issue(
            number=listed.number,
            content=content_digest(listed.title, listed.body),
            labels=labels,
        )
        if self._updated.get(listed.number) != listed.updated_at:
            self._updated[listed.number] = listed.updated_at
            self._touched.add(listed.number)
        before = self.issues.get(listed.number)
        if before is None or replace(before, sub_issues=None) != issue:
            self.issues[listed.number] = issue

    def _unsettle(self, listed: ListedIssue) -> None:
        """Have the sub-issues of those read again that this one is, or was, decomposed from."""
        known = self._parents.get(listed.number, set())
        for parent in {*parents_of(listed.body), *known}:
            issue = self.issues.get(parent)
            if issue is None or parent == listed.number:
                continue
            state = SubIssue(number=listed.number, closed=listed.state == "closed")
            listed_now = parent in parents_of(listed.body)
            if issue.sub_issues is None or (state in issue.sub_issues) != listed_now:
                self.issues[parent] = replace(issue, sub_issues=None)

    def _drop(self, number: int) -> None:
        self.issues.pop(number, None)
        self._updated.pop(number, None)


def _sub_issue(event: IssueEvent, parent: int, repository: str) -> SubIssue | None:
    """The sub-issue that an event tells of; None for every other event."""
    other = event.ref_issue
    if event.type != "issue_ref" or other is None or other.pull_request is not None:
        return None
    if other.repository is None or other.repository.full_name.lower() != repository.lower():
        return None
    if other.number > MAX_NUMBER:
        return None
    if other.number == parent or parent not in parents_of(other.body):
        return None
    return SubIssue(number=other.number, closed=other.state == "closed")
