"""What the listener's applications share: a few fixed paths, bounded bodies, signed calls."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from dispatcher.listener.hooks import SIGNATURES, Judgement, Outcome, PushHook

BODY_LIMIT = 2**20
"""Bytes of a webhook's body. A push of many commits stays far below: forges cap the list at 5."""

STATUS = {
    Outcome.LOOK: HTTPStatus.ACCEPTED,
    Outcome.ISSUES: HTTPStatus.ACCEPTED,
    Outcome.IGNORED: HTTPStatus.ACCEPTED,
    Outcome.MALFORMED: HTTPStatus.BAD_REQUEST,
    Outcome.FORGED: HTTPStatus.FORBIDDEN,
}

Reply = tuple[HTTPStatus, str, bytes]
"""Status, content type and body."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application."""

Handler = Callable[[Scope, Receive], Awaitable[Reply]]


class Pages:
    """An ASGI application of fixed paths, each with one method.

    Args:
        pages: method and handler by path. A handler must not block: it runs on the listener's thread.
    """

    def __init__(self, pages: Mapping[str, tuple[str, Handler]]) -> None:
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, kind, body = await self._answer(scope, receive)
        except Disconnected:
            return
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", self._pages[scope["path"]][0]))
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": int(status), "headers": encoded})
        body = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        page = self._pages.get(scope["path"])
        if page is None:
            return text(HTTPStatus.NOT_FOUND, "no such page")
        method, handle = page
        requested = scope["method"]
        if requested != method and not (requested == "HEAD" and method == "GET"):
            return text(HTTPStatus.METHOD_NOT_ALLOWED, f"use {method}")
        return await handle(scope, receive)


class Disconnected(Exception):
    """The client disconnected before its request was complete."""


async def judged(hook: PushHook, scope: Scope, receive: Receive) -> Judgement | None:
    """How a webhook judges a request; None if its body is larger than ``BODY_LIMIT``.

    Raises:
        Disconnected: the request is incomplete.
    """
    body = await body_of(receive)
    return None if body is None else hook.judge(_signatures(scope), body)


async def body_of(receive: Receive, *, limit: int = BODY_LIMIT) -> bytes | None:
    """The body of a request; None if it is larger than ``limit`` bytes.

    Raises:
        Disconnected: the request is incomplete.
    """
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        more = message.get("more_body", False)
    return bytes(body)


def too_large(limit: int = BODY_LIMIT) -> Reply:
    """The reply to a body beyond a limit in bytes."""
    return text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"over {limit} bytes")


def text(status: HTTPStatus, line: str) -> Reply:
    """A reply of one line."""
    return status, "text/plain; charset=utf-8", f"{line}\n".encode()


def json_reply(status: HTTPStatus, content: object) -> Reply:
    """A reply in JSON."""
    return status, "application/json", json.dumps(content, indent=2).encode() + b"\n"


def _signatures(scope: Scope) -> dict[str, str]:
    """The signature headers. One that was sent twice gets both values, which match no signature."""
    wanted = {name.lower().encode(): name for name, _ in SIGNATURES}
    signatures: dict[str, str] = {}
    for key, value in scope["headers"]:
        if key in wanted:
            name, given = wanted[key], value.decode("latin-1")
            signatures[name] = f"{signatures[name]}, {given}" if name in signatures else given
    return signatures
