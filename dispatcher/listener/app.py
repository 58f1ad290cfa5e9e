"""The ASGI application of ``serve``: a webhook, health and metrics. It holds no state."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus

from dispatcher.listener import exchange
from dispatcher.listener.exchange import Pages, Receive, Reply, Scope
from dispatcher.listener.hooks import Outcome, PushHook
from dispatcher.model.health import Health
from dispatcher.model.payload import END_NOTICE_BYTES, END_NOTICE_PATH
from dispatcher.model.times import known_time
from dispatcher.status.metrics import CONTENT_TYPE, Metrics


class App(Pages):
    """``POST /hooks/push``, ``POST /runs/ended``, ``GET /healthz``, ``GET /readyz``, ``GET /metrics``.

    Everything it calls is quick and touches no network, so it runs on the listener's own thread.

    Args:
        health: a snapshot; must not block.
        metrics: what the service counts.
        wake: called to poll the remote now, and to ask everything again; must not block.
        moved: called instead if the branch was pushed to and nothing else, with the commit (hex) at which
            that left it, or "" if the call names none; by default ``wake``.
        merged: called after that if it seems to be the merge of a pull request that brought actions,
            with its number and the commit that it made; must not block.
        hook: None if no webhook secret is configured; the endpoint then reports that.
        issues: called to read the issues of a repository now; must not block.
        ended: called with what a runner sends when its formula has ended; must not block. Returns whether
            it is from the runner of a run in flight.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        health: Callable[[], Health],
        metrics: Metrics,
        wake: Callable[[], None],
        hook: PushHook | None,
        moved: Callable[[str], None] | None = None,
        merged: Callable[[int, str], None] = lambda _number, _commit: None,
        issues: Callable[[str], None] = lambda _repository: None,
        ended: Callable[[bytes], bool] = lambda _notice: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._health = health
        self._metrics = metrics
        metrics.hooks_begin(Outcome)
        self._wake, self._moved, self._merged = wake, moved or (lambda _head: wake()), merged
        self._hook = hook
        self._issues, self._run_ended = issues, ended
        self._clock = clock
        super().__init__(
            {
                "/hooks/push": ("POST", self._push),
                END_NOTICE_PATH: ("POST", self._ended),
                "/healthz": ("GET", self._healthz),
                "/readyz": ("GET", self._readyz),
                "/metrics": ("GET", self._measured),
            }
        )

    async def _push(self, scope: Scope, receive: Receive) -> Reply:
        if self._hook is None:
            return exchange.text(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "no webhook secret is configured; set the variable that [http] "
                "webhook_secret_env names, or [http] webhook_secret_file",
            )
        judgement = await exchange.judged(self._hook, scope, receive)
        if judgement is None:
            return exchange.too_large()
        self._metrics.hook(judgement.outcome.value)
        if judgement.outcome is Outcome.LOOK:
            if judgement.pushed:
                self._moved(judgement.head)
            else:
                self._wake()
            if judgement.merged is not None:
                self._merged(*judgement.merged)
        elif judgement.outcome is Outcome.ISSUES:
            self._issues(judgement.repository)
        return exchange.text(exchange.STATUS[judgement.outcome], judgement.reason)

    async def _ended(self, _scope: Scope, receive: Receive) -> Reply:
        notice = await exchange.body_of(receive, limit=END_NOTICE_BYTES)
        if notice is None:
            return exchange.too_large(END_NOTICE_BYTES)
        if not self._run_ended(notice):
            return exchange.text(HTTPStatus.FORBIDDEN, "not from the runner of a run in flight")
        return exchange.text(HTTPStatus.ACCEPTED, "its result will follow")

    async def _healthz(self, _scope: Scope, _receive: Receive) -> Reply:
        health, now = self._health(), self._clock()
        alive = health.alive(now)
        return exchange.json_reply(
            HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE, _snapshot(health, now)
        )

    async def _readyz(self, _scope: Scope, _receive: Receive) -> Reply:
        health, now = self._health(), self._clock()
        ready = health.ready(now)
        return exchange.json_reply(
            HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, _snapshot(health, now)
        )

    async def _measured(self, _scope: Scope, _receive: Receive) -> Reply:
        return HTTPStatus.OK, CONTENT_TYPE, self._metrics.text()


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
