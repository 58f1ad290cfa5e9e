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

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from pydantic import TypeAdapter

from dispatcher.forge.exchange import Exchange, many
from dispatcher.forge.records import MAX_NUMBER, IssueEvent, ListedIssue, Permission
from dispatcher.forge.sized import all_sized, sized

MAX_EVENTS = 5_000
"""Maximum entries of an issue's time line that are read."""

_EVENTS = many(IssueEvent)
_ISSUE = TypeAdapter(ListedIssue)
_ISSUES = many(ListedIssue)
_PERMISSION = TypeAdapter(Permission)


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
        listed = sized(self._http, path, _ISSUES, number, params)
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
        path, what = (
            f"{self._repo}/issues/{number}/timeline",
            f"issue #{number} of {self.repository}",
        )
        return all_sized(self._http, path, _EVENTS, most=MAX_EVENTS, what=what)

    def permission(self, login: str) -> str:
        """``none``, ``read``, ``write``, ``admin`` or ``owner``; "none" for an unknown account.

        The forge reveals this to administrators of the repository only.
        """
        path = f"{self._repo}/collaborators/{quote(login, safe='')}/permission"
        answer = self._http.get(path, _PERMISSION)
        return answer.permission if answer else "none"
