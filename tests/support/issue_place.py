"""The small forge over the client that ``serve`` uses, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx

from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.forge.exchange import Exchange
from dispatcher.forge.issue_board import IssueBoard
from dispatcher.forge.issues import IssuesApi
from dispatcher.settings import ForgeSettings


def _transport(forge: IssueForge) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode().removeprefix("/api/v1")
        body = json.loads(request.content) if request.content else None
        given = request.headers["Authorization"].removeprefix("token ")
        status, shown, headers = forge.answer(request.method, target, body, token=given)
        headers["Date"] = formatdate(forge.clock(), usegmt=True)
        return httpx.Response(status, content=json.dumps(shown).encode(), headers=headers)

    return httpx.MockTransport(answer)


def exchange_with(forge: IssueForge, token: str) -> Exchange:
    """A client of the small forge."""
    return Exchange(
        url="http://forge.test",
        token=token,
        cacert=None,
        timeout_s=5,
        token_source="TOKEN",
        transport=_transport(forge),
    )


def board_of(forge: IssueForge, repository: str, login: str) -> IssueBoard:
    """The issues of a repository, as the reporter writes on them with an account."""
    settings = ForgeSettings(url="http://forge.test", repository=repository)
    return IssueBoard(settings, token=forge.account(login), transport=_transport(forge))


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
