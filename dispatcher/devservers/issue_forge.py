"""A small forge that knows issues, labels and comments, and no more: for demo, tests and benches.

It keeps to what Forgejo 7 was found to do (``tests/contract/issues.py`` runs against both):
the order of lists, paging, ``since``, unknown labels, time lines, cross references, rights, webhooks. It
says so itself: each answer has the header ``Server: disinto-issue-forge``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SERVER = "disinto-issue-forge"
MAX_LIMIT = 50
DEFAULT_LIMIT = 30
_MENTION = re.compile(
    r"(?:(?<![\w./-])(?P<repo>[\w.-]{1,100}/[\w.-]{1,100}))?#(?P<number>[1-9][0-9]*)"
)
_RANKS = ("none", "read", "write", "admin", "owner")

Json = Any
Answer = tuple[int, Json, dict[str, str]]


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class _Issue:
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
class _Repository:
    name: str
    rights: dict[str, str] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    issues: dict[int, _Issue] = field(default_factory=dict)
    last: int = 0
    private: bool = False


@dataclass
class IssueForge:
    """The forge's state, and its API as a function. Thread-safe.

    Attributes:
        clock: seconds since the epoch.
        calls: requests so far, as ``GET /repos/…``.
        hook: called with each webhook's event, headers and body; None for no webhook.
        secret: of the webhook.
        down: answer 503 to everything.
    """

    clock: Callable[[], float] = time.time
    calls: list[str] = field(default_factory=list)
    hook: Callable[[Mapping[str, str], bytes], None] | None = None
    secret: bytes = b""
    down: bool = False
    _repositories: dict[str, _Repository] = field(default_factory=dict)
    _logins: dict[str, str] = field(default_factory=dict)
    _ids: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def account(self, login: str) -> str:
        """Make an account; its token."""
        token = hashlib.sha256(f"token of {login}".encode()).hexdigest()[:40]
        with self._lock:
            self._logins[token] = login
        return token

    def repository(self, name: str, *, private: bool = False, **rights: str) -> None:
        """Make ``owner/name``; ``rights`` by login. Others may read, unless it is private."""
        with self._lock:
            made = _Repository(name=name, rights={name.partition("/")[0]: "owner"}, private=private)
            made.rights.update(rights)
            self._repositories[name.lower()] = made

    def grant(self, name: str, login: str, right: str) -> None:
        """Change an account's rights."""
        with self._lock:
            self._repositories[name.lower()].rights[login] = right

    def remove(self, name: str, number: int) -> None:
        """Delete an issue, or have it transferred away."""
        with self._lock:
            del self._repositories[name.lower()].issues[number]

    def fill(self, name: str, number: int, *labels: str) -> None:
        """Make many open issues at once, each with these labels."""
        with self._lock:
            repository = self._repositories[name.lower()]
            owner = name.partition("/")[0]
            ids = [self._label(repository, label) for label in labels]
            for _ in range(number):
                issue = self._open(repository, owner, "title", "body", pull=False)
                for each in ids:
                    self._set_label(repository, issue, each, owner)

    def answer(self, method: str, target: str, body: Json = None, *, token: str = "") -> Answer:
        """Answer one call; ``target`` is the path below /api/v1, with its query."""
        split = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(split.query).items()}
        events: list[tuple[str, Json]] = []
        with self._lock:
            self.calls.append(f"{method} {split.path}")
            if self.down:
                return 503, {"message": "down"}, {}
            try:
                answer = self._answer(method, split.path, query, body, token=token, events=events)
            except _Refused as refused:
                return refused.status, {"message": str(refused)}, {}
        for kind, payload in events:
            self._tell(kind, payload)
        return answer

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Json,
        *,
        token: str,
        events: list[tuple[str, Json]],
    ) -> Answer:
        login = self._logins.get(token, "")
        if token and not login:
            raise _Refused(401, "invalid username, password or token")
        if path == "/user":
            return 200, _user(login), {}
        if path == "/version":
            return 200, {"version": f"7.0.0+{SERVER}"}, {}
        match = re.fullmatch(r"/repos/([^/]+)/([^/]+)(/.*)?", path)
        name = "/".join(unquote(part) for part in match.groups()[:2]) if match else ""
        repository = self._repositories.get(name.lower())
        if match is None or repository is None or not self._may(repository, login, "read"):
            raise _Refused(404, "The target couldn't be found.")
        call = _Call(self, repository, login, query, body or {}, events)
        return call.answer(method, match[3] or "")

    def _may(self, repository: _Repository, login: str, right: str) -> bool:
        has = repository.rights.get(login, "none" if repository.private else "read")
        return _RANKS.index(has) >= _RANKS.index(right)

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def _label(self, repository: _Repository, name: str) -> int:
        for number, known in repository.labels.items():
            if known == name:
                return number
        number = self._next_id()
        repository.labels[number] = name
        return number

    def _open(
        self, repository: _Repository, login: str, title: str, body: str, *, pull: bool
    ) -> _Issue:
        repository.last += 1
        now = self.clock()
        issue = _Issue(
            number=repository.last,
            title=title,
            body=body,
            user=login,
            pull=pull,
            created=now,
            updated=now,
        )
        repository.issues[issue.number] = issue
        self._mention(repository, issue, login)
        return issue

    def _mention(self, repository: _Repository, issue: _Issue, login: str) -> None:
        for match in _MENTION.finditer(issue.body):
            other = self._repositories.get((match["repo"] or repository.name).lower())
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

    def _set_label(self, repository: _Repository, issue: _Issue, label: int, login: str) -> bool:
        if label not in repository.labels:
            raise _Refused(404, "label does not exist")
        if label in issue.labels:
            return False
        issue.labels[label] = None
        issue.events.append({"type": "label", "user": login, "body": "1", "label": label})
        issue.updated = self.clock()
        return True

    def _tell(self, kind: str, payload: Json) -> None:
        if self.hook is None:
            return
        body = json.dumps(payload).encode()
        signature = hmac.new(self.secret, body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Forgejo-Event": kind,
            "X-Forgejo-Signature": signature,
        }
        self.hook(headers, body)


@dataclass
class _Call:
    """One call about one repository."""

    forge: IssueForge
    repository: _Repository
    login: str
    query: Mapping[str, str]
    body: Json
    events: list[tuple[str, Json]]

    def answer(self, method: str, path: str) -> Answer:
        for pattern, verb, handle in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match is not None and verb == method:
                return handle(self, *match.groups())
        raise _Refused(404, "The target couldn't be found.")

    def about(self) -> Answer:
        private = self.repository.private
        return 200, {"full_name": self.repository.name, "private": private}, {}

    def permission(self, login: str) -> Answer:
        self._must("admin")
        default = "none" if self.repository.private else "read"
        right = self.repository.rights.get(unquote(login), default)
        known = unquote(login) in self.forge._logins.values() or right != default
        if not known:
            raise _Refused(404, "user does not exist")
        return 200, {"permission": right, "role_name": right}, {}

    def list_issues(self) -> Answer:
        wanted = self.query.get("state", "open")
        since = self.query.get("since")
        at = datetime.fromisoformat(since).timestamp() if since else 0.0
        given = [name for name in self.query.get("labels", "").split(",") if name]
        ids = [n for n, name in self.repository.labels.items() if name in given]
        issues = [
            issue
            for issue in sorted(self.repository.issues.values(), key=lambda i: -i.number)
            if wanted in ("all", issue.state)
            and (self.query.get("type") != "issues" or not issue.pull)
            and int(issue.updated) >= at
            and all(n in issue.labels for n in ids)
        ]
        return self._page([self._shown(issue) for issue in self._cut(issues)], len(issues))

    def open_issue(self) -> Answer:
        forge, repository = self.forge, self.repository
        title, body = str(self.body.get("title", "")), str(self.body.get("body", ""))
        issue = forge._open(repository, self.login, title, body, pull=False)
        if forge._may(repository, self.login, "write"):
            for label in self.body.get("labels") or ():
                forge._set_label(repository, issue, int(label), self.login)
        self._event("issues", "opened", issue)
        return 201, self._shown(issue), {}

    def one_issue(self, number: str) -> Answer:
        return 200, self._shown(self._issue(number)), {}

    def edit_issue(self, number: str) -> Answer:
        issue = self._issue(number)
        if self.login != issue.user:
            self._must("write")
        issue.title = str(self.body.get("title", issue.title))
        issue.body = str(self.body.get("body", issue.body))
        issue.state = str(self.body.get("state", issue.state))
        issue.updated = self.forge.clock()
        self.forge._mention(self.repository, issue, self.login)
        self._event("issues", "closed" if issue.state == "closed" else "edited", issue)
        return 201, self._shown(issue), {}

    def time_line(self, number: str) -> Answer:
        issue = self._issue(number)
        shown = [self._shown_event(event) for event in self._cut(issue.events)]
        return 200, shown or None, {"X-Total-Count": str(len(shown))}

    def list_labels(self) -> Answer:
        labels = [{"id": n, "name": name} for n, name in self.repository.labels.items()]
        return self._page(self._cut(labels), len(labels))

    def make_label(self) -> Answer:
        self._must("write")
        name = str(self.body["name"])
        number = self.forge._next_id()
        self.repository.labels[number] = name
        return 201, {"id": number, "name": name}, {}

    def labels_of(self, number: str) -> Answer:
        return 200, self._shown(self._issue(number))["labels"], {}

    def add_labels(self, number: str) -> Answer:
        self._must("write")
        issue = self._issue(number)
        for label in self.body["labels"]:
            self.forge._set_label(self.repository, issue, int(label), self.login)
        self._event("issue_label", "label_updated", issue)
        return 200, self._shown(issue)["labels"], {}

    def remove_label(self, number: str, label: str) -> Answer:
        self._must("write")
        issue = self._issue(number)
        if issue.labels.pop(int(label), 0) is None:
            event = {"type": "label", "user": self.login, "body": "", "label": int(label)}
            issue.events.append(event)
            issue.updated = self.forge.clock()
        self._event("issue_label", "label_updated", issue)
        return 204, None, {}

    def comments(self, number: str) -> Answer:
        return 200, list(self._issue(number).comments), {}

    def comment(self, number: str) -> Answer:
        issue = self._issue(number)
        comment = {
            "id": self.forge._next_id(),
            "user": _user(self.login),
            "body": str(self.body["body"]),
        }
        issue.comments.append(comment)
        issue.events.append({"type": "comment", "user": self.login, "body": comment["body"]})
        issue.updated = self.forge.clock()
        self._event("issue_comment", "created", issue, comment=comment)
        return 201, comment, {}

    def edit_comment(self, number: str) -> Answer:
        for issue in self.repository.issues.values():
            for comment in issue.comments:
                if comment["id"] == int(number):
                    if comment["user"]["login"] != self.login:
                        self._must("write")
                    comment["body"] = str(self.body["body"])
                    issue.updated = self.forge.clock()
                    self._event("issue_comment", "edited", issue, comment=comment)
                    return 200, comment, {}
        raise _Refused(404, "comment does not exist")

    def _must(self, right: str) -> None:
        if not self.forge._may(self.repository, self.login, right):
            raise _Refused(403, f"{right} access is needed")

    def _issue(self, number: str) -> _Issue:
        issue = self.repository.issues.get(int(number))
        if issue is None:
            raise _Refused(404, "issue does not exist")
        return issue

    def _cut(self, entries: list[Any]) -> list[Any]:
        limit = min(MAX_LIMIT, int(self.query.get("limit", DEFAULT_LIMIT)))
        begin = (max(1, int(self.query.get("page", 1))) - 1) * limit
        return entries[begin : begin + limit]

    def _page(self, shown: list[Any], total: int) -> Answer:
        return 200, shown, {"X-Total-Count": str(total)}

    def _shown(self, issue: _Issue) -> dict[str, Any]:
        labels = [
            {"id": n, "name": self.repository.labels[n]}
            for n in issue.labels
            if n in self.repository.labels
        ]
        return {
            "number": issue.number,
            "title": issue.title,
            "body": issue.body,
            "user": _user(issue.user),
            "state": issue.state,
            "labels": labels,
            "pull_request": {"merged": False} if issue.pull else None,
            "created_at": _time(issue.created),
            "updated_at": _time(issue.updated),
            "repository": {"full_name": self.repository.name},
        }

    def _shown_event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        label, origin = event.get("label"), event.get("from")
        name = self.repository.labels.get(label) if label is not None else None
        other = self.forge._repositories.get(origin[0].lower()) if origin else None
        issue = other.issues.get(origin[1]) if other and origin else None
        shown = None
        if other is not None and issue is not None:
            shown = _Call(self.forge, other, self.login, {}, {}, [])._shown(issue)
        return {
            "type": event["type"],
            "user": _user(event["user"]),
            "body": event["body"],
            "label": {"id": label, "name": name} if name is not None else None,
            "ref_issue": shown,
        }

    def _event(self, kind: str, action: str, issue: _Issue, **more: Json) -> None:
        payload = {
            "action": action,
            "number": issue.number,
            "issue": self._shown(issue),
            "repository": {"full_name": self.repository.name},
            "sender": _user(self.login),
            **more,
        }
        self.events.append((kind, payload))


_N = r"([0-9]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    (r"", "GET", _Call.about),
    (r"/collaborators/([^/]+)/permission", "GET", _Call.permission),
    (r"/issues", "GET", _Call.list_issues),
    (r"/issues", "POST", _Call.open_issue),
    (rf"/issues/{_N}", "GET", _Call.one_issue),
    (rf"/issues/{_N}", "PATCH", _Call.edit_issue),
    (rf"/issues/{_N}/timeline", "GET", _Call.time_line),
    (r"/labels", "GET", _Call.list_labels),
    (r"/labels", "POST", _Call.make_label),
    (rf"/issues/{_N}/labels", "GET", _Call.labels_of),
    (rf"/issues/{_N}/labels", "POST", _Call.add_labels),
    (rf"/issues/{_N}/labels/{_N}", "DELETE", _Call.remove_label),
    (rf"/issues/{_N}/comments", "GET", _Call.comments),
    (rf"/issues/{_N}/comments", "POST", _Call.comment),
    (rf"/issues/comments/{_N}", "PATCH", _Call.edit_comment),
)


def _user(login: str) -> dict[str, Any] | None:
    if not login:
        return None
    number = int(hashlib.sha256(login.encode()).hexdigest()[:7], 16) + 1
    return {"id": number, "login": login, "email": f"{login}@example.test"}


def _time(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
