"""The issues of one repository, read only: Forgejo's and Gitea's v1 API.

Facts of Forgejo 7, checked by the contract suite of the fake forge:

* The list is in order of creation, the newest first; ``sort`` is ignored. ``since`` filters by the time
  of the last update, to the second and including it; a change of title, body, label or state, and a
  mention by another issue, are updates.
* Labels that do not exist are dropped from the filter, and with none left *all* issues come back. So
  nothing here filters by label.
* There is no limit to the size of a body: a page of 50 can have any size. What is over
  ``MAX_ANSWER_BYTES`` is read in smaller pages, and a single issue that is over it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from dispatcher.errors import Dependency, Unavailable
from dispatcher.forge.exchange import AnswerTooLarge, Exchange, TooLarge, many
from dispatcher.forge.records import MAX_NUMBER, IssueEvent, ListedIssue, Permission

SIZES = (50, 10, 1)
"""Entries of a page, and of the smaller ones that it is read in if it is too large. Each divides the
one before."""

MAX_EVENTS = 5_000
"""Maximum entries of an issue's time line that are read."""

_EVENTS = many(IssueEvent)
_ISSUE = TypeAdapter(ListedIssue)
_ISSUES = many(ListedIssue)
_PERMISSION = TypeAdapter(Permission)

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuePage:
    """A page of the list of issues.

    Attributes:
        issues: pull requests are not among them.
        last: whether no further page has anything.
        total: entries of the whole list; None if the forge does not say.
        at: when the forge answered, by its clock, seconds since the epoch; None likewise.
        unread: entries left out because of their size, or because their numbers are over ``MAX_NUMBER``.
    """

    issues: tuple[ListedIssue, ...]
    last: bool
    total: int | None
    at: float | None
    unread: int


class IssuesApi:
    """Reads the issues of one repository. Thread-safe.

    Every method raises ``Unavailable`` (forge) when there is no usable answer, and ``Denied`` (forge)
    for 401 and 403.

    Args:
        exchange: the client; its token reads.
        repository: ``owner/name``.
    """

    def __init__(self, exchange: Exchange, repository: str) -> None:
        owner, _, name = repository.partition("/")
        self.repository = repository
        self._http = exchange
        self._repo = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"

    @property
    def calls(self) -> int:
        """Requests sent since the start, those for other repositories included."""
        return self._http.calls

    def page(self, number: int, *, state: str, since: float | None = None) -> IssuePage:
        """One page (from 1) of issues, the newest first.

        Args:
            state: open or all.
            since: only those updated at or after it, seconds since the epoch.
        """
        params: dict[str, object] = {"state": state, "type": "issues"}
        if since is not None:
            params["since"] = datetime.fromtimestamp(int(since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = f"{self._repo}/issues"
        listed = _sized(self._http, path, _ISSUES, number, params)
        entries = [issue for issue in listed.entries if issue.number <= MAX_NUMBER]
        return IssuePage(
            issues=tuple(issue for issue in entries if issue.pull_request is None),
            last=not listed.entries and not listed.unread,
            total=listed.total,
            at=listed.at,
            unread=listed.unread + len(listed.entries) - len(entries),
        )

    def issue(self, number: int) -> ListedIssue | None:
        """An issue; None for a pull request, and if there is none of this number (any more).

        Raises:
            AnswerTooLarge: it has more than ``MAX_ANSWER_BYTES``.
        """
        issue = self._http.get(f"{self._repo}/issues/{number}", _ISSUE)
        if issue is None or issue.number != number or number > MAX_NUMBER:
            return None
        return issue if issue.pull_request is None else None

    def events(self, number: int) -> Iterator[IssueEvent]:
        """The time line of an issue, oldest first. Entries that are too large are left out.

        Raises:
            TooLarge: it has more than ``MAX_EVENTS`` entries.
        """
        path = f"{self._repo}/issues/{number}/timeline"
        for page in range(1, MAX_EVENTS // SIZES[0] + 1):
            listed = _sized(self._http, path, _EVENTS, page, {})
            yield from listed.entries
            if not listed.entries and not listed.unread:
                return
        raise TooLarge(f"issue #{number} of {self.repository} has more than {MAX_EVENTS:,} events")

    def permission(self, login: str) -> str:
        """``none``, ``read``, ``write``, ``admin`` or ``owner``; "none" for an unknown account.

        The forge reveals this to administrators of the repository only.
        """
        path = f"{self._repo}/collaborators/{quote(login, safe='')}/permission"
        answer = self._http.get(path, _PERMISSION)
        return answer.permission if answer else "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed(Generic[_T]):
    """A page of ``SIZES[0]`` entries, and the number of those that were left out."""

    entries: tuple[_T, ...]
    total: int | None
    at: float | None
    unread: int = 0


def _sized(
    http: Exchange,
    path: str,
    of: TypeAdapter[list[_T]],
    number: int,
    params: Mapping[str, object],
    *,
    level: int = 0,
) -> _Listed[_T]:
    """One page (from 1) of ``SIZES[level]`` entries, in smaller ones if it is too large."""
    size = SIZES[level]
    try:
        page = http.page(path, of, {**params, "limit": size, "page": number})
    except AnswerTooLarge:
        if level == len(SIZES) - 1:
            return _Listed(entries=(), total=None, at=None, unread=1)
        parts = size // SIZES[level + 1]
        first = (number - 1) * parts + 1
        read = []
        for part in range(first, first + parts):
            read.append(_sized(http, path, of, part, params, level=level + 1))
            if not read[-1].entries and not read[-1].unread:
                break
        return _Listed(
            entries=tuple(entry for part in read for entry in part.entries),
            total=next((part.total for part in read if part.total is not None), None),
            at=next((part.at for part in read if part.at is not None), None),
            unread=sum(part.unread for part in read),
        )
    if page is None:
        raise Unavailable(
            Dependency.FORGE,
            f"the forge answered 404 to GET {path}",
            remedy="Check the repository in sidecars.toml, and that the token may read its issues.",
        )
    return _Listed(entries=page.entries, total=page.total, at=page.at)
