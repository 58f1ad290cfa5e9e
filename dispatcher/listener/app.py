"""The ASGI application of ``serve``: a webhook, health and metrics. It holds no state."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from dispatcher.listener.hooks import SIGNATURES, Outcome, PushHook
from dispatcher.model.health import Health
from dispatcher.model.times import known_time
from dispatcher.status.metrics import CONTENT_TYPE, Metrics

BODY_LIMIT = 2**20
"""Bytes of a webhook's body. A push of many commits stays far below: forges cap the list at 5."""

_STATUS = {
    Outcome.LOOK: HTTPStatus.ACCEPTED,
    Outcome.ISSUES: HTTPStatus.ACCEPTED,
    Outcome.IGNORED: HTTPStatus.ACCEPTED,
    Outcome.MALFORMED: HTTPStatus.BAD_REQUEST,
    Outcome.FORGED: HTTPStatus.FORBIDDEN,
}

Reply = tuple[HTTPStatus, str, bytes]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application."""


class App:
    """``POST /hooks/push``, ``GET /healthz``, ``GET /readyz``, ``GET /metrics``.

    Everything it calls is quick and touches no network, so it runs on the listener's own thread.

    Args:
        health: a snapshot; must not block.
        metrics: what the service counts.
        wake: called to poll the remote now; must not block.
        hook: None if no webhook secret is configured; the endpoint then reports that.
        issues: called to read the issues of a repository now; must not block.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        health: Callable[[], Health],
        metrics: Metrics,
        wake: Callable[[], None],
        hook: PushHook | None,
        issues: Callable[[str], None] = lambda _repository: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._health = health
        self._metrics = metrics
        metrics.hooks_begin(Outcome)
        self._wake = wake
        self._hook = hook
        self._issues = issues
        self._clock = clock
        self._pages: Mapping[str, tuple[str, Callable[[Scope, Receive], Awaitable[Reply]]]] = {
            "/hooks/push": ("POST", self._push),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
            "/metrics": ("GET", self._measured),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, kind, body = await self._answer(scope, receive)
        except _Disconnected:
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
            return _text(HTTPStatus.NOT_FOUND, "no such page")
        method, handle = page
        requested = scope["method"]
        if requested != method and not (requested == "HEAD" and method == "GET"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, f"use {method}")
        return await handle(scope, receive)

    async def _push(self, scope: Scope, receive: Receive) -> Reply:
        if self._hook is None:
            return _text(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "no webhook secret is configured; set the variable that [http] "
                "webhook_secret_env names, or [http] webhook_secret_file",
            )
        body = await _body(receive)
        if body is None:
            return _text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"over {BODY_LIMIT} bytes")
        judgement = self._hook.judge(_signatures(scope), body)
        self._metrics.hook(judgement.outcome.value)
        if judgement.outcome is Outcome.LOOK:
            self._wake()
        elif judgement.outcome is Outcome.ISSUES:
            self._issues(judgement.repository)
        return _text(_STATUS[judgement.outcome], judgement.reason)

    async def _healthz(self, _scope: Scope, _receive: Receive) -> Reply:
        health, now = self._health(), self._clock()
        alive = health.alive(now)
        return _json(
            HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE, _snapshot(health, now)
        )

    async def _readyz(self, _scope: Scope, _receive: Receive) -> Reply:
        health, now = self._health(), self._clock()
        ready = health.ready(now)
        return _json(
            HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, _snapshot(health, now)
        )

    async def _measured(self, _scope: Scope, _receive: Receive) -> Reply:
        return HTTPStatus.OK, CONTENT_TYPE, self._metrics.text()


class _Disconnected(Exception):
    """The client disconnected before its request was complete."""


async def _body(receive: Receive) -> bytes | None:
    """The body, or None if it is larger than ``BODY_LIMIT``."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            return None
        more = message.get("more_body", False)
    return bytes(body)


def _signatures(scope: Scope) -> dict[str, str]:
    """The signature headers. One that was sent twice gets both values, which match no signature."""
    wanted = {name.lower().encode(): name for name, _ in SIGNATURES}
    signatures: dict[str, str] = {}
    for key, value in scope["headers"]:
        if key in wanted:
            name, text = wanted[key], value.decode("latin-1")
            signatures[name] = f"{signatures[name]}, {text}" if name in signatures else text
    return signatures


def _snapshot(health: Health, now: float) -> dict[str, object]:
    """The snapshot for people and probes: times as RFC 3339."""
    return {
        "alive": health.alive(now),
        "ready": health.ready(now),
        "leader": health.leader,
        "holder": health.holder,
        "started_at": known_time(health.started_at),
        "beat_at": known_time(health.beat_at),
        "head": health.head,
        "in_flight": health.in_flight,
        "unpublished": health.unpublished,
        "waiting": {str(reason): count for reason, count in health.waiting.items()},
        "dependencies": [
            {**asdict(entry), "since": known_time(entry.since)} for entry in health.dependencies
        ],
        "warnings": list(health.warnings),
    }


def _text(status: HTTPStatus, text: str) -> Reply:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()


def _json(status: HTTPStatus, content: object) -> Reply:
    return status, "application/json", json.dumps(content, indent=2).encode() + b"\n"
