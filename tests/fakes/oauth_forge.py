"""The OAuth2 endpoints of a forge, and what its API says about people: as Forgejo and Gitea behave.

It remembers codes, tokens and permissions, and can be down, or answer nonsense. A person's side is
``authorize``: what their browser gets when they let an application in.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx

URL = "https://forge.example"
REPOSITORY = "acme/ops"


@dataclass(kw_only=True)
class App:
    """An application that is registered at the forge."""

    client_id: str
    secret: str = field(repr=False)
    redirect_uri: str


@dataclass(kw_only=True)
class FakePerson:
    """An account. ``reads`` is whether it may read the ops repo."""

    number: int
    login: str
    full_name: str = ""
    email: str = ""
    reads: bool = True


@dataclass(kw_only=True)
class _Grant:
    """That a person let an application in."""

    app: App
    person: FakePerson
    standing: bool = True


@dataclass(kw_only=True)
class FakeOAuthForge:
    """A forge with accounts and applications.

    Attributes:
        requests: method and path of everything that was asked.
        down: whether it does not answer.
        answers: replaces the answer of a path.
    """

    apps: dict[str, App] = field(default_factory=dict)
    people: dict[str, FakePerson] = field(default_factory=dict)
    expires_in: int = 3600
    down: bool = False
    answers: dict[str, Callable[[], httpx.Response]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    _codes: dict[str, tuple[_Grant, str, str]] = field(default_factory=dict)
    _access: dict[str, _Grant | FakePerson] = field(default_factory=dict)
    _refresh: dict[str, _Grant] = field(default_factory=dict)
    _grants: list[_Grant] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def transport(self) -> httpx.MockTransport:
        """What stands for the network."""
        return httpx.MockTransport(self._answer)

    def register(self, app: App) -> App:
        """Register an application."""
        self.apps[app.client_id] = app
        return app

    def person(self, login: str, **more: object) -> FakePerson:
        """An account that reads the ops repo."""
        made = FakePerson(number=next(self._numbers), login=login, **more)  # type: ignore[arg-type]
        self.people[login] = made
        return made

    def personal_token(self, person: FakePerson) -> str:
        """A personal access token."""
        token = hashlib.sha1(f"pat{next(self._numbers)}".encode()).hexdigest()
        self._access[token] = person
        self.issued.append(token)
        return token

    def access_token(self, app: App, person: FakePerson) -> str:
        """An access token of OAuth2 that some application got."""
        return self._tokens(self._grant(app, person))[0]

    def authorize(self, url: str, person: FakePerson, *, state: str | None = None) -> str:
        """A person opens the address that an application sent them to, and lets it in.

        Returns:
            Where the forge sends the browser.
        """
        query = dict(parse_qsl(urlsplit(url).query))
        app = self.apps[query["client_id"]]
        assert query["redirect_uri"] == app.redirect_uri
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = f"code-{next(self._numbers)}-{'c' * 20}"
        self.issued.append(code)
        grant = self._grant(app, person)
        self._codes[code] = (grant, query["code_challenge"], query["redirect_uri"])
        given = query["state"] if state is None else state
        return f"{app.redirect_uri}?{urlencode({'code': code, 'state': given})}"

    def take_back(self, person: FakePerson) -> None:
        """A person no longer lets applications in."""
        for grant in self._grants:
            if grant.person is person:
                grant.standing = False

    def _grant(self, app: App, person: FakePerson) -> _Grant:
        grant = _Grant(app=app, person=person)
        self._grants.append(grant)
        return grant

    def _tokens(self, grant: _Grant) -> tuple[str, str]:
        access, refresh = (f"ey{kind}.{next(self._numbers)}.{'s' * 30}" for kind in ("A", "R"))
        self._access[access], self._refresh[refresh] = grant, grant
        self.issued += [access, refresh]
        return access, refresh

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.requests.append((request.method, path))
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        if path in self.answers:
            return self.answers[path]()
        match path:
            case "/login/oauth/access_token":
                return self._token_endpoint(request)
            case "/login/oauth/introspect":
                return self._introspect(request)
            case "/api/v1/user":
                return self._user(request)
            case _ if path == f"/api/v1/repos/{REPOSITORY}":
                return self._repository(request)
        return httpx.Response(404, json={"message": "not found"})

    def _token_endpoint(self, request: httpx.Request) -> httpx.Response:
        form = {k: v[0] for k, v in parse_qs(request.content.decode()).items()}
        app = self._client(request)
        if app is None:
            return _error("invalid_client", "invalid client secret")
        if form["grant_type"] == "refresh_token":
            grant = self._refresh.pop(form["refresh_token"], None)
            if grant is None or not grant.standing or grant.app is not app:
                return _error("unauthorized_client", "grant does not exist")
            return self._granted(grant)
        if form["redirect_uri"] != app.redirect_uri:
            return _error("unauthorized_client", "unexpected redirect URI")
        code = self._codes.pop(form["code"], None)
        if code is None:
            return _error("unauthorized_client", "client is not authorized")
        grant, challenge, _ = code
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != challenge:
            return _error("unauthorized_client", "failed PKCE code challenge")
        if grant.app is not app:
            return _error("invalid_grant", "invalid grant")
        return self._granted(grant)

    def _granted(self, grant: _Grant) -> httpx.Response:
        access, refresh = self._tokens(grant)
        return httpx.Response(
            200,
            json={
                "access_token": access,
                "token_type": "bearer",
                "expires_in": self.expires_in,
                "refresh_token": refresh,
            },
        )

    def _introspect(self, request: httpx.Request) -> httpx.Response:
        if self._client(request) is None:
            return httpx.Response(401, text="no valid authorization")
        form = parse_qs(request.content.decode())
        grant = self._access.get(form["token"][0])
        if not isinstance(grant, _Grant) or not grant.standing:
            return httpx.Response(200, json={"active": False})
        answer = {"active": True, "aud": [grant.app.client_id], "sub": str(grant.person.number)}
        return httpx.Response(200, json=answer)

    def _client(self, request: httpx.Request) -> App | None:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind != "Basic":
            return None
        client_id, _, secret = base64.b64decode(given).decode().partition(":")
        app = self.apps.get(client_id)
        return app if app is not None and app.secret == secret else None

    def _who(self, request: httpx.Request) -> FakePerson | None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        assert kind == "token"
        found = self._access.get(token)
        if isinstance(found, _Grant):
            return found.person if found.standing else None
        return found

    def _user(self, request: httpx.Request) -> httpx.Response:
        who = self._who(request)
        if who is None:
            return httpx.Response(401, json={"message": "token is required"})
        told = {"id": who.number, "login": who.login, "full_name": who.full_name}
        return httpx.Response(200, json={**told, "email": who.email})

    def _repository(self, request: httpx.Request) -> httpx.Response:
        who = self._who(request)
        if who is None or not who.reads:
            return httpx.Response(404, json={"message": "not found"})
        rights = {"pull": True, "push": False, "admin": False}
        return httpx.Response(200, json={"full_name": REPOSITORY, "permissions": rights})


def _error(code: str, description: str) -> httpx.Response:
    return httpx.Response(400, json={"error": code, "error_description": description})


def nonsense() -> httpx.Response:
    """An answer that means nothing."""
    return httpx.Response(200, content=json.dumps([1, {"access_token": []}]))


def flood() -> httpx.Response:
    """An answer without end, as far as anybody reads it."""
    return httpx.Response(200, content=b'{"access_token": "' + b"a" * 10 * 2**20)
