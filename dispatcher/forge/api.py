"""Forgejo's and Gitea's v1 API: one method per call.

It must not decide anything: ``dispatcher.gate`` interprets the answers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from dispatcher.errors import Misconfigured
from dispatcher.forge.exchange import (
    ACCESS_WANTED,
    PAGE,
    AnswerTooLarge,
    Exchange,
    ForgeRefused,
    many,
    parse,
)
from dispatcher.forge.records import (
    Comment,
    Content,
    Event,
    GitRef,
    Permission,
    Push,
    Pushed,
    Request,
    RequestCommit,
    Review,
    Status,
    Team,
    TimeLineEntry,
    User,
)
from dispatcher.forge.sized import all_sized
from dispatcher.settings import ForgeSettings

MAX_ENTRIES = 5_000
"""Entries of a time line that are searched for comments, if these are too large for one response."""

_COMMENT = TypeAdapter(Comment)
_COMMENTS = many(Comment)
_ENTRIES = many(TimeLineEntry)
_COMMITS = many(RequestCommit)
_CONTENT: TypeAdapter[Content | list[Content]] = TypeAdapter(Content | list[Content])
_EVENTS = many(Event)
_PERMISSION = TypeAdapter(Permission)
_PUSHED = TypeAdapter(Pushed)
_REFS: TypeAdapter[GitRef | list[GitRef]] = TypeAdapter(GitRef | list[GitRef])
_REQUEST = TypeAdapter(Request)
_REQUESTS = many(Request)
_REVIEWS = many(Review)
_STATUS = TypeAdapter(Status)
_STATUSES = many(Status)
_TEAMS = many(Team)
_USER = TypeAdapter(User)
_USERS = many(User)


class ForgeApi:
    """A repository on a forge. Thread-safe.

    Every method raises ``Unavailable`` (forge) when there is no usable answer (no connection, a
    time-out, a status of 429 or 5xx, a redirect, an answer that does not parse) and ``Denied``
    (forge) for 401 and 403.

    Args:
        settings: address, repository, CA certificate and time-out.
        token: API token; kept only in the client's header.
        transport: for tests: replaces the network.

    Raises:
        Misconfigured: the address or the repository's name is not one.
    """

    access = ACCESS_WANTED
    """The token needed, for messages."""

    def __init__(
        self, settings: ForgeSettings, *, token: str, transport: httpx.BaseTransport | None = None
    ) -> None:
        owner, slash, name = settings.repository.partition("/")
        if not (owner and slash and name) or "/" in name:
            raise Misconfigured(f"[forge] repository is {settings.repository!r}, not owner/name")
        self.repository = settings.repository
        self._repo = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"
        self._web_url = f"{settings.url.rstrip('/')}/{quote(owner, safe='')}/{quote(name, safe='')}"
        self._lock = threading.Lock()
        self._teams: dict[str, int] = {}
        self._not_found: str | None = None
        self._finds_no_commit = False
        self._http = Exchange(
            url=settings.url,
            token=token,
            cacert=settings.cacert,
            timeout_s=settings.timeout_s,
            token_source=token_source(settings),
            transport=transport,
            wanted=self.access,
        )

    @property
    def calls(self) -> int:
        """Requests sent since the start, failed ones included."""
        return self._http.calls

    @property
    def web_url(self) -> str:
        """Address of the repository for people, without a slash at the end."""
        return self._web_url

    def close(self) -> None:
        self._http.close()

    # --- what a decision is based on -------------------------------------------------------------

    def request_of(self, commit: str) -> Request | None:
        """The request whose merge produced this commit, by the forge's records; None if there is
        none.

        Forgejo 7.0.0 to 7.0.5 returns 404 for every commit, so None does not prove that there is none. A
        forge that does not find a commit which its list of closed requests names is not asked again.
        """
        if self._finds_no_commit:
            return None
        request = self._http.get(f"{self._repo}/commits/{commit}/pull", _REQUEST)
        if request is None:
            self._not_found = commit
        return request

    def closed_requests(self, page: int) -> Sequence[Request]:
        """One page (from 1) of closed requests, the latest changed first."""
        params = {"state": "closed", "sort": "recentupdate", "limit": PAGE, "page": page}
        requests = self._http.must(f"{self._repo}/pulls", _REQUESTS, params)
        if any(
            request.merged and request.merge_commit_sha == self._not_found for request in requests
        ):
            self._finds_no_commit = True
        return requests

    def merged_head(self, number: int) -> str | None:
        """The commit that ``refs/pull/<number>/head`` names: the merged head, after the merge.

        A request's own ``head.sha`` is not a substitute: it follows its branch after the merge.
        """
        ref = f"pull/{number}/head"
        answer = self._http.get(f"{self._repo}/git/refs/{ref}", _REFS)
        refs = answer if isinstance(answer, list) else [answer] if answer else []
        return next((r.object.sha for r in refs if r.ref == f"refs/{ref}"), None)

    def blob_at(self, commit: str, path: str) -> str | None:
        """Blob name of a regular file at a commit; None for no file, a directory or a link."""
        where = f"{self._repo}/contents/{quote(path)}"
        content = self._http.get(where, _CONTENT, {"ref": commit})
        if not isinstance(content, Content) or content.type != "file" or content.path != path:
            return None
        return content.sha

    def reviews(self, number: int) -> Sequence[Review]:
        """All reviews of a request, in no promised order."""
        return self._http.pages(f"{self._repo}/pulls/{number}/reviews", _REVIEWS, counted=True)

    def pushes(self, number: int) -> Sequence[Push]:
        """The pushes to a request's branch between its opening and its merge, in order."""
        path = f"{self._repo}/issues/{number}/timeline"
        events = [e for e in self._http.pages(path, _EVENTS) if e.type == "pull_push"]
        return [
            Push(user=e.user, created_at=e.created_at, commit_ids=_pushed(e, path)) for e in events
        ]

    def request_commits(self, number: int) -> Sequence[RequestCommit]:
        """All commits of a request."""
        extra = {"verification": "false", "files": "false"}
        return self._http.pages(
            f"{self._repo}/pulls/{number}/commits", _COMMITS, extra, counted=True
        )

    def permission(self, login: str) -> Permission | None:
        """``none``, ``read``, ``write``, ``admin`` or ``owner``, with the account; None if there is no
        such account.

        The forge reveals this to administrators of the repository only.
        """
        path = f"{self._repo}/collaborators/{quote(login, safe='')}/permission"
        return self._http.get(path, _PERMISSION)

    def user(self, login: str) -> User | None:
        """An account; its e-mail address is the real one only if the token may see it."""
        return self._http.get(f"/users/{quote(login, safe='')}", _USER)

    def me(self) -> User:
        """The account of our token."""
        return self._http.must("/user", _USER)

    def in_team(self, team: str, login: str) -> bool:
        """Whether an account is a member of ``org/team``.

        Raises:
            Misconfigured: the forge knows no such team.
        """
        number = self._team(team)
        member = f"/teams/{number}/members/{quote(login, safe='')}"
        return self._http.get(member, _USER) is not None

    def team_members(self, team: str) -> Sequence[User]:
        """The members of ``org/team``.

        Raises:
            Misconfigured: the forge knows no such team.
        """
        return self._http.pages(f"/teams/{self._team(team)}/members", _USERS)

    def _team(self, team: str) -> int:
        with self._lock:
            if team in self._teams:
                return self._teams[team]
        org, _, name = team.partition("/")
        # not /teams/search: it returns only teams that our own account is a member of
        for entry in self._http.pages(f"/orgs/{quote(org, safe='')}/teams", _TEAMS):
            if entry.name.lower() == name.lower():
                with self._lock:
                    self._teams[team] = entry.id
                return entry.id
        raise Misconfigured(
            f"the forge has no team {team!r}",
            remedy="Correct [forge] approver_team in the settings, or teams in the policy.",
        )

    # --- reports --------------------------------------------------------------------------------

    def statuses(self, commit: str) -> Sequence[Status]:
        """Statuses of a commit, the latest first; one page, which contains the current ones."""
        params: dict[str, object] = {"limit": PAGE, "sort": "recentupdate"}
        return self._http.must(f"{self._repo}/commits/{commit}/statuses", _STATUSES, params)

    def set_status(
        self, commit: str, *, context: str, state: str, description: str, target_url: str = ""
    ) -> None:
        """Set a commit status; ``state`` is pending, success, error, failure or warning."""
        body = {
            "context": context,
            "state": state,
            "description": description,
            "target_url": target_url,
        }
        self._http.send("POST", f"{self._repo}/statuses/{commit}", body, _STATUS)

    def comments(self, number: int) -> Iterator[Comment]:
        """All comments of an issue or request, oldest first.

        The forge returns them in one response. If that is too large, they are read page by page from the
        time line, without comments that are too large by themselves: whoever may comment must not be able
        to hide ours.

        Raises:
            TooLarge: nor are they in the first ``MAX_ENTRIES`` entries of the time line.
        """
        issue, what = f"{self._repo}/issues/{number}", f"#{number} of {self.repository}"
        try:
            yield from self._http.must(f"{issue}/comments", _COMMENTS)
        except AnswerTooLarge:
            for entry in all_sized(
                self._http, f"{issue}/timeline", _ENTRIES, most=MAX_ENTRIES, what=what
            ):
                if entry.type == "comment":
                    yield Comment(id=entry.id, user=entry.user, body=entry.body or "")

    def add_comment(self, number: int, body: str) -> Comment:
        return self._http.send(
            "POST", f"{self._repo}/issues/{number}/comments", {"body": body}, _COMMENT
        )

    def edit_comment(self, comment: int, body: str) -> Comment:
        return self._http.send(
            "PATCH", f"{self._repo}/issues/comments/{comment}", {"body": body}, _COMMENT
        )

    def request(self, number: int) -> Request | None:
        """A request by its number."""
        return self._http.get(f"{self._repo}/pulls/{number}", _REQUEST)

    def open_requests(self) -> Sequence[Request]:
        """Open requests, the latest changed first; one page of them."""
        params = {"state": "open", "sort": "recentupdate", "limit": PAGE}
        return self._http.must(f"{self._repo}/pulls", _REQUESTS, params)

    def open_request(self, *, head: str, base: str, title: str, body: str) -> Request:
        """Open a pull request; if one from ``head`` to ``base`` is open, return that one.

        Raises:
            ForgeRefused: the forge rejects it, e.g. because ``head`` does not exist.
        """
        fields = {"head": head, "base": base, "title": title, "body": body}
        try:
            return self._http.send("POST", f"{self._repo}/pulls", fields, _REQUEST)
        except ForgeRefused as refused:
            existing = (
                self.open_request_from(head=head, base=base) if refused.status == 409 else None
            )
            if existing is None:
                raise
            return existing

    def open_request_from(self, *, head: str, base: str) -> Request | None:
        """The open request from a branch of this repository, not of a fork, into another; None if
        there is none.
        """
        repository = self.repository.lower()
        for request in self._http.pages(f"{self._repo}/pulls", _REQUESTS, {"state": "open"}):
            source = request.head.repo.full_name.lower() if request.head.repo else ""
            if (request.head.ref, request.base.ref, source) == (head, base, repository):
                return request
        return None


def token_source(settings: ForgeSettings) -> str:
    """Where the API token comes from, for messages."""
    secret = settings.token_secret
    variable = f"the environment variable {settings.token_env}"
    return f"{variable}, or the secret {secret} ([forge] token_secret)," if secret else variable


def _pushed(event: Event, path: str) -> list[str]:
    """The commits of a ``pull_push`` event; its body is JSON in a string."""
    return parse(event.body.encode(), _PUSHED, f"GET {path}").commit_ids or []
