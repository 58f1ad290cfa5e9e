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
from urllib.parse import parse_qs, unquote, urlsplit

from dispatcher.devservers.issue_forge_calls import Answer, RepositoryCall, account
from dispatcher.devservers.issue_forge_state import (
    ForgeState,
    Json,
    Refused,
    StoredRepository,
)

SERVER = "disinto-issue-forge"
NO_SCOPE = "token does not have at least one of required scope(s):"


@dataclass
class IssueForge:
    """The forge's state, and its API as a function. Thread-safe.

    Attributes:
        clock: seconds since the epoch.
        calls: requests so far, as ``GET /repos/…``.
        hook: called with each webhook's event, headers and body; None for no webhook.
        secret: of the webhook.
        down: answer 503 to everything.
        readers: tokens that only read.
        state: what it holds.
    """

    clock: Callable[[], float] = time.time
    calls: list[str] = field(default_factory=list)
    hook: Callable[[Mapping[str, str], bytes], None] | None = None
    secret: bytes = b""
    down: bool = False
    readers: set[str] = field(default_factory=set)
    state: ForgeState = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.state = ForgeState(clock=self.clock)

    def account(self, login: str, *, reads_only: bool = False) -> str:
        """Make an account; its token, which has all scopes or those to read."""
        text = f"token of {login}{' to read' * reads_only}"
        token = hashlib.sha256(text.encode()).hexdigest()[:40]
        with self._lock:
            self.state.logins[token] = login
            self.readers |= {token} if reads_only else set()
        return token

    def repository(self, name: str, *, private: bool = False, **rights: str) -> None:
        """Make ``owner/name``; ``rights`` by login. Others may read, unless it is private."""
        with self._lock:
            made = StoredRepository(
                name=name, rights={name.partition("/")[0]: "owner"}, private=private
            )
            made.rights.update(rights)
            self.state.repositories[name.lower()] = made

    def grant(self, name: str, login: str, right: str) -> None:
        """Change an account's rights."""
        with self._lock:
            self.state.repositories[name.lower()].rights[login] = right

    def remove(self, name: str, number: int) -> None:
        """Delete an issue, or have it transferred away."""
        with self._lock:
            del self.state.repositories[name.lower()].issues[number]

    def fill(self, name: str, number: int, *labels: str) -> None:
        """Make many open issues at once, each with these labels."""
        with self._lock:
            repository = self.state.repositories[name.lower()]
            owner = name.partition("/")[0]
            ids = [self.state.label(repository, label) for label in labels]
            for _ in range(number):
                issue = self.state.open_issue(repository, owner, "title", "body", pull=False)
                for each in ids:
                    self.state.set_label(repository, issue, each, owner)

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
            except Refused as refused:
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
        login = self.state.logins.get(token, "")
        if token and not login:
            raise Refused(401, "invalid username, password or token")
        if token in self.readers and method != "GET":
            raise Refused(403, f"{NO_SCOPE} [write:issue]")
        if path == "/user":
            return 200, account(login), {}
        if path == "/version":
            return 200, {"version": f"7.0.0+{SERVER}"}, {}
        match = re.fullmatch(r"/repos/([^/]+)/([^/]+)(/.*)?", path)
        name = "/".join(unquote(part) for part in match.groups()[:2]) if match else ""
        repository = self.state.repositories.get(name.lower())
        if match is None or repository is None or not repository.may(login, "read"):
            raise Refused(404, "The target couldn't be found.")
        call = RepositoryCall(self.state, repository, login, query, body or {}, events)
        return call.answer(method, match[3] or "")

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
