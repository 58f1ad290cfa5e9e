"""The ASGI application of ``disinto release webhook``: a signed push requests a deploy, nothing more.

It has no rights: it makes one empty file, which a path unit of systemd watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from dispatcher.listener import exchange
from dispatcher.listener.exchange import Pages, Receive, Reply, Scope
from dispatcher.listener.hooks import Outcome, PushHook

PATHS = ("/webhook/forgejo", "/webhook/github")

SPACING_S = 5.0
"""Seconds between two requests of a deploy. A flood of genuine calls, replayed or not, so costs one
fetch in this time.
"""


class Throttle:
    """Combines calls within a time after a request into one request at its end, so that none is lost.

    Args:
        request: requests a deploy; must not block.
        report: gets what went wrong with a request that was put off.
        spacing_s: seconds between two requests.
    """

    def __init__(
        self, request: Callable[[], None], *, report: Callable[[str], None], spacing_s: float
    ) -> None:
        self._request = request
        self._report = report
        self._spacing_s = spacing_s
        self._next = float("-inf")
        self._put_off = False

    def request(self, loop: asyncio.AbstractEventLoop) -> None:
        """Request a deploy now, or as soon as the spacing allows it.

        Raises:
            OSError: it cannot be requested.
        """
        now = loop.time()
        if self._put_off:
            return
        if now >= self._next:
            self._request()
            self._next = now + self._spacing_s
            return
        self._put_off = True
        loop.call_at(self._next, self._deferred, loop)

    def _deferred(self, loop: asyncio.AbstractEventLoop) -> None:
        self._put_off = False
        self._next = loop.time() + self._spacing_s
        try:
            self._request()
        except OSError as error:
            self._report(f"cannot request a deploy: {error}")


class ReleaseHook(Pages):
    """``POST /webhook/github`` and ``/webhook/forgejo``, which judge alike by the headers that are there.

    Args:
        hook: judges a call; made with the branch that is deployed.
        request: requests a deploy; must not block. An ``OSError`` is reported to the caller.
        report: gets what went wrong with a request, for the log.
        spacing_s: see ``SPACING_S``.
    """

    def __init__(
        self,
        hook: PushHook,
        request: Callable[[], None],
        *,
        report: Callable[[str], None],
        spacing_s: float = SPACING_S,
    ) -> None:
        super().__init__(dict.fromkeys(PATHS, ("POST", self._push)))
        self._hook = hook
        self._report = report
        self._throttle = Throttle(request, report=report, spacing_s=spacing_s)

    async def _push(self, scope: Scope, receive: Receive) -> Reply:
        judgement = await exchange.judged(self._hook, scope, receive)
        if judgement is None:
            return exchange.too_large()
        if judgement.outcome is Outcome.LOOK:
            try:
                self._throttle.request(asyncio.get_running_loop())
            except OSError as error:
                self._report(f"cannot request a deploy: {error}")
                return exchange.text(HTTPStatus.SERVICE_UNAVAILABLE, "cannot request a deploy")
        return exchange.text(exchange.STATUS[judgement.outcome], judgement.reason)
