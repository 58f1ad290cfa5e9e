"""The WSGI application of ``serve``: a webhook, health and metrics. It holds no state."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from dispatcher.health import Health
from dispatcher.metrics import CONTENT_TYPE, Metrics
from dispatcher.web.hooks import SIGNATURES, Outcome, PushHook

BODY_LIMIT = 2**20
"""Bytes of a webhook's body. A push of many commits stays far below: forges cap the list at 5."""

_STATUS = {
    Outcome.LOOK: HTTPStatus.ACCEPTED,
    Outcome.IGNORED: HTTPStatus.ACCEPTED,
    Outcome.MALFORMED: HTTPStatus.BAD_REQUEST,
    Outcome.FORGED: HTTPStatus.FORBIDDEN,
}

Reply = tuple[HTTPStatus, str, bytes]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class App:
    """``POST /hooks/push``, ``GET /healthz``, ``GET /readyz``, ``GET /metrics``.

    Args:
        health: a snapshot; called from several threads, must not block.
        metrics: what the service counts.
        wake: told to look at the remote now; must not block.
        hook: None where no webhook secret is configured; the endpoint then says so.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        health: Callable[[], Health],
        metrics: Metrics,
        wake: Callable[[], None],
        hook: PushHook | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._health = health
        self._metrics = metrics
        metrics.hooks_begin(Outcome)
        self._wake = wake
        self._hook = hook
        self._clock = clock
        self._rooms: Mapping[str, tuple[str, Callable[[dict[str, Any]], Reply]]] = {
            "/hooks/push": ("POST", self._push),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
            "/metrics": ("GET", self._measured),
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, kind, body = self._answer(environ)
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", self._rooms[environ["PATH_INFO"]][0]))
        start_response(f"{status.value} {status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: dict[str, Any]) -> Reply:
        room = self._rooms.get(environ.get("PATH_INFO", ""))
        if room is None:
            return _text(HTTPStatus.NOT_FOUND, "no such page")
        method, handle = room
        asked = environ["REQUEST_METHOD"]
        if asked != method and not (asked == "HEAD" and method == "GET"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, f"use {method}")
        return handle(environ)

    def _push(self, environ: dict[str, Any]) -> Reply:
        if self._hook is None:
            return _text(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "no webhook secret is configured; set the variable that [http] "
                "webhook_secret_env names, or [http] webhook_secret_file",
            )
        body = environ["wsgi.input"].read(BODY_LIMIT + 1)
        if len(body) > BODY_LIMIT:
            return _text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"over {BODY_LIMIT} bytes")
        judgement = self._hook.judge(_signatures(environ), body)
        self._metrics.hook(judgement.outcome.value)
        if judgement.outcome is Outcome.LOOK:
            self._wake()
        return _text(_STATUS[judgement.outcome], judgement.reason)

    def _healthz(self, _environ: dict[str, Any]) -> Reply:
        health, now = self._health(), self._clock()
        alive = health.alive(now)
        return _json(HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE, _said(health, now))

    def _readyz(self, _environ: dict[str, Any]) -> Reply:
        health, now = self._health(), self._clock()
        ready = health.ready(now)
        return _json(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, _said(health, now))

    def _measured(self, _environ: dict[str, Any]) -> Reply:
        return HTTPStatus.OK, CONTENT_TYPE, self._metrics.text()


def _signatures(environ: Mapping[str, Any]) -> dict[str, str]:
    names = ((name, "HTTP_" + name.upper().replace("-", "_")) for name, _ in SIGNATURES)
    return {name: environ[key] for name, key in names if key in environ}


def _said(health: Health, now: float) -> dict[str, object]:
    """The snapshot for people and probes: times as RFC 3339."""
    return {
        "alive": health.alive(now),
        "ready": health.ready(now),
        "leader": health.leader,
        "holder": health.holder,
        "started_at": _when(health.started_at),
        "beat_at": _when(health.beat_at),
        "head": health.head,
        "in_flight": health.in_flight,
        "unpublished": health.unpublished,
        "waiting": {str(reason): count for reason, count in health.waiting.items()},
        "dependencies": [
            {**asdict(entry), "since": _when(entry.since)} for entry in health.dependencies
        ],
        "warnings": list(health.warnings),
    }


def _when(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None


def _text(status: HTTPStatus, text: str) -> Reply:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()


def _json(status: HTTPStatus, content: object) -> Reply:
    return status, "application/json", json.dumps(content, indent=2).encode() + b"\n"
