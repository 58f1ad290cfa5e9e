"""The API of the small forge of ``issue_forge``, as far as it is about one repository."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from dispatcher.devservers.issue_forge_state import (
    ForgeState,
    Json,
    Refused,
    StoredIssue,
    StoredRepository,
)

MAX_LIMIT = 50
DEFAULT_LIMIT = 30

Answer = tuple[int, Json, dict[str, str]]
"""Status, body and headers."""


@dataclass
class RepositoryCall:
    """One call of the API about one repository.

    Attributes:
        login: who calls; "" for nobody.
        query, body: of the call.
        events: where webhook events are added, each with its kind.
    """

    state: ForgeState
    repository: StoredRepository
    login: str
    query: Mapping[str, str]
    body: Json
    events: list[tuple[str, Json]]

    def answer(self, method: str, path: str) -> Answer:
        """Answer it; ``path`` is the rest below the repository. Raises ``Refused``."""
        for pattern, verb, handle in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match is not None and verb == method:
                return handle(self, *match.groups())
        raise Refused(404, "The target couldn't be found.")

    def about(self) -> Answer:
        private = self.repository.private
        return 200, {"full_name": self.repository.name, "private": private}, {}

    def permission(self, login: str) -> Answer:
        self._must("admin")
        default = "none" if self.repository.private else "read"
        right = self.repository.rights.get(unquote(login), default)
        known = unquote(login) in self.state.logins.values() or right != default
        if not known:
            raise Refused(404, "user does not exist")
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
        state, repository = self.state, self.repository
        title, body = str(self.body.get("title", "")), str(self.body.get("body", ""))
        if not title:
            raise Refused(422, "[Title]: Required")
        issue = state.open_issue(repository, self.login, title, body, pull=False)
        if repository.may(self.login, "write"):
            for label in self.body.get("labels") or ():
                state.set_label(repository, issue, int(label), self.login)
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
        issue.updated = self.state.clock()
        self.state.mention(self.repository, issue, self.login)
        self._event("issues", "closed" if issue.state == "closed" else "edited", issue)
        return 201, self._shown(issue), {}

    def time_line(self, number: str) -> Answer:
        issue = self._issue(number)
        shown = [self._shown_event(event) for event in self._cut(issue.events)]
        return 200, shown or None, {"X-Total-Count": str(len(shown))}

    def list_labels(self) -> Answer:
        labels = [self._shown_label(n) for n in self.repository.labels]
        return self._page(self._cut(labels), len(labels))

    def make_label(self) -> Answer:
        self._must("write")
        if not self.body.get("name"):
            raise Refused(422, "[Name]: Required")
        name = str(self.body["name"])
        number = self.state.next_id()
        self.repository.labels[number] = name
        if self.body.get("exclusive"):
            self.repository.exclusive.add(number)
        return 201, self._shown_label(number), {}

    def labels_of(self, number: str) -> Answer:
        return 200, self._shown(self._issue(number))["labels"], {}

    def add_labels(self, number: str) -> Answer:
        self._must("write")
        issue = self._issue(number)
        for label in self.body["labels"]:
            self.state.set_label(self.repository, issue, int(label), self.login)
        self._event("issue_label", "label_updated", issue)
        return 200, self._shown(issue)["labels"], {}

    def remove_label(self, number: str, label: str) -> Answer:
        self._must("write")
        issue = self._issue(number)
        self.state.unset_label(issue, int(label), self.login)
        self._event("issue_label", "label_updated", issue)
        return 204, None, {}

    def comments(self, number: str) -> Answer:
        return 200, list(self._issue(number).comments), {}

    def comment(self, number: str) -> Answer:
        issue = self._issue(number)
        comment = {
            "id": self.state.next_id(),
            "user": account(self.login),
            "body": str(self.body["body"]),
        }
        issue.comments.append(comment)
        event = {"type": "comment", "user": self.login, "body": comment["body"]}
        issue.events.append({**event, "id": comment["id"]})
        issue.updated = self.state.clock()
        self._event("issue_comment", "created", issue, comment=comment)
        return 201, comment, {}

    def edit_comment(self, number: str) -> Answer:
        for issue in self.repository.issues.values():
            for comment in issue.comments:
                if comment["id"] == int(number):
                    if comment["user"]["login"] != self.login:
                        self._must("write")
                    comment["body"] = str(self.body["body"])
                    issue.updated = self.state.clock()
                    self._event("issue_comment", "edited", issue, comment=comment)
                    return 200, comment, {}
        raise Refused(404, "comment does not exist")

    def _must(self, right: str) -> None:
        if not self.repository.may(self.login, right):
            raise Refused(403, f"{right} access is needed")

    def _issue(self, number: str) -> StoredIssue:
        issue = self.repository.issues.get(int(number))
        if issue is None:
            raise Refused(404, "issue does not exist")
        return issue

    def _cut(self, entries: list[Any]) -> list[Any]:
        limit = min(MAX_LIMIT, int(self.query.get("limit", DEFAULT_LIMIT)))
        begin = (max(1, int(self.query.get("page", 1))) - 1) * limit
        return entries[begin : begin + limit]

    def _page(self, shown: list[Any], total: int) -> Answer:
        return 200, shown, {"X-Total-Count": str(total)}

    def _shown(self, issue: StoredIssue) -> dict[str, Any]:
        labels = [self._shown_label(n) for n in issue.labels if n in self.repository.labels]
        return {
            "number": issue.number,
            "title": issue.title,
            "body": issue.body,
            "user": account(issue.user),
            "state": issue.state,
            "labels": labels,
            "pull_request": {"merged": False} if issue.pull else None,
            "created_at": _time(issue.created),
            "updated_at": _time(issue.updated),
            "repository": {"full_name": self.repository.name},
        }

    def _shown_label(self, number: int) -> dict[str, Any]:
        name, exclusive = self.repository.labels[number], number in self.repository.exclusive
        return {"id": number, "name": name, "exclusive": exclusive}

    def _shown_event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        label, origin = event.get("label"), event.get("from")
        name = self.repository.labels.get(label) if label is not None else None
        other = self.state.repositories.get(origin[0].lower()) if origin else None
        issue = other.issues.get(origin[1]) if other and origin else None
        shown = None
        if other is not None and issue is not None:
            shown = RepositoryCall(self.state, other, self.login, {}, {}, [])._shown(issue)
        return {
            "id": event.get("id", 0),
            "type": event["type"],
            "user": account(event["user"]),
            "body": event["body"],
            "label": {"id": label, "name": name} if name is not None else None,
            "ref_issue": shown,
        }

    def _event(self, kind: str, action: str, issue: StoredIssue, **more: Json) -> None:
        payload = {
            "action": action,
            "number": issue.number,
            "issue": self._shown(issue),
            "repository": {"full_name": self.repository.name},
            "sender": account(self.login),
            **more,
        }
        self.events.append((kind, payload))


_N = r"([0-9]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    (r"", "GET", RepositoryCall.about),
    (r"/collaborators/([^/]+)/permission", "GET", RepositoryCall.permission),
    (r"/issues", "GET", RepositoryCall.list_issues),
    (r"/issues", "POST", RepositoryCall.open_issue),
    (rf"/issues/{_N}", "GET", RepositoryCall.one_issue),
    (rf"/issues/{_N}", "PATCH", RepositoryCall.edit_issue),
    (rf"/issues/{_N}/timeline", "GET", RepositoryCall.time_line),
    (r"/labels", "GET", RepositoryCall.list_labels),
    (r"/labels", "POST", RepositoryCall.make_label),
    (rf"/issues/{_N}/labels", "GET", RepositoryCall.labels_of),
    (rf"/issues/{_N}/labels", "POST", RepositoryCall.add_labels),
    (rf"/issues/{_N}/labels/{_N}", "DELETE", RepositoryCall.remove_label),
    (rf"/issues/{_N}/comments", "GET", RepositoryCall.comments),
    (rf"/issues/{_N}/comments", "POST", RepositoryCall.comment),
    (rf"/issues/comments/{_N}", "PATCH", RepositoryCall.edit_comment),
)


def account(login: str) -> dict[str, Any] | None:
    """An account as the API shows it; None for nobody."""
    if not login:
        return None
    number = int(hashlib.sha256(login.encode()).hexdigest()[:7], 16) + 1
    return {"id": number, "login": login, "email": f"{login}@example.test"}


def _time(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
