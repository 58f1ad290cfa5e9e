"""Forgejo 7 as far as it says what a token may do: scope first, then the account's rights, then content.

``tests/integration/test_token_rights.py`` compares it with a real one.
"""

from __future__ import annotations

import json
from collections.abc import Collection

import httpx

from dispatcher.forge.exchange import Exchange

NO_SCOPE = "token does not have at least one of required scope(s): [{}]"


def forge_for(scopes: Collection[str], *, writer: bool = False) -> Exchange:
    """A client with a token of these scopes, of an account that may or may not write in repositories."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        level = "read" if request.method == "GET" else "write"
        needed = f"{level}:{_part(path)}"
        if needed not in scopes and f"write:{_part(path)}" not in scopes:
            return _said(403, NO_SCOPE.format(needed))
        if request.method == "GET":
            return httpx.Response(200, json=[] if path.endswith("/issues") else {})
        assert json.loads(request.content) == {}, "nothing may be written"
        if path.endswith(("/branches", "/labels")) and not writer:
            return _said(403, "user should have a permission to write to a repo")
        if path.startswith("/admin"):
            return _said(403, "user should be the site admin")
        return _said(422, "[Title]: Required")

    return Exchange(
        url="http://forge.test",
        token="t",
        cacert=None,
        timeout_s=5,
        token_source="TOKEN",
        transport=httpx.MockTransport(answer),
        wanted="one that may",
    )


def _part(path: str) -> str:
    if path.startswith("/repos/"):
        return "issue" if path.endswith(("/issues", "/labels")) else "repository"
    if path.startswith("/user"):
        return "user"
    return "admin" if path.startswith("/admin") else "organization"


def _said(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"message": message})
