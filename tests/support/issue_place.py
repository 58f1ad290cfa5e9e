"""The small forge over the client that ``serve`` uses, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx

from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.forge.exchange import Exchange
from dispatcher.forge.issues import IssuesApi


def exchange_with(forge: IssueForge, token: str) -> Exchange:
    """A client of the small forge."""

    def answer(request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode().removeprefix("/api/v1")
        body = json.loads(request.content) if request.content else None
        given = request.headers["Authorization"].removeprefix("token ")
        status, shown, headers = forge.answer(request.method, target, body, token=given)
        headers["Date"] = formatdate(forge.clock(), usegmt=True)
        return httpx.Response(status, content=json.dumps(shown).encode(), headers=headers)

    return Exchange(
        url="http://forge.test",
        token=token,
        cacert=None,
        timeout_s=5,
        token_source="TOKEN",
        transport=httpx.MockTransport(answer),
    )


def reads_of(forge: IssueForge, repository: str, login: str) -> IssuesApi:
    """The issues of a repository, as an account reads them."""
    return IssuesApi(exchange_with(forge, forge.account(login)), repository)


def caller(forge: IssueForge, login: str) -> Callable[..., Any]:
    """Calls the API as an account."""
    token = forge.account(login)

    def call(method: str, path: str, body: object) -> Any:
        status, shown, _ = forge.answer(method, path, body, token=token)
        assert status < 400, (method, path, shown)
        return json.loads(json.dumps(shown))

    return call
