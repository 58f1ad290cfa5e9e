"""The connection guard: limits connections, in total and per address, and the time of a request.

uvicorn bounds neither the time in which a request must arrive nor the connections of one client, so
a few dozen that send a byte now and then would exhaust the listener. If there are too many, the
connection that has been longest without an answered request is closed: a genuine request takes
milliseconds, so it is answered however many others wait. No connection is closed in its first moments,
because its request may have arrived and not been read yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

GRACE_S = 0.25
"""Seconds for which a new connection is not closed, unless ``connections`` are open."""


class Guard:
    """The open connections of one listener. Used by its event loop only.

    Args:
        request_s: seconds from the opening of a connection, or from its last answer, until an
            answer must have been sent: headers, body and answer together.
        connections: how many may be open. Beyond that, one of the address with most is closed.
        per_address: how many older than ``GRACE_S`` may be open from one address.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        request_s: float,
        connections: int,
        per_address: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.request_s = request_s
        self._connections = connections
        self._per_address = per_address
        self._clock = clock
        self._count = 0
        # For each address its connections and when each was opened or last answered, in that order.
        self._open: dict[str, dict[asyncio.Transport, float]] = {}

    def admit(self, address: str, transport: asyncio.Transport) -> None:
        """Count a new connection, and close others if there are too many."""
        if self._count >= self._connections:
            self._end(max(self._open, key=lambda each: len(self._open[each])))
        connections = self._open.setdefault(address, {})
        too_young = self._clock() - GRACE_S
        while (
            len(connections) >= self._per_address and next(iter(connections.values())) <= too_young
        ):
            self._end(address)
        self._open.setdefault(address, {})[transport] = self._clock()
        self._count += 1

    def answered(self, address: str, transport: asyncio.Transport) -> None:
        """Note an answered request: its connection is now the last to be closed."""
        connections = self._open.get(address, {})
        if connections.pop(transport, None) is not None:
            connections[transport] = self._clock()

    def closed(self, address: str, transport: asyncio.Transport) -> None:
        """Note that a connection is closed."""
        connections = self._open.get(address, {})
        if connections.pop(transport, None) is not None:
            self._count -= 1
            if not connections:
                del self._open[address]

    def _end(self, address: str) -> None:
        oldest = next(iter(self._open[address]))
        self.closed(address, oldest)
        oldest.abort()


def guarded(guard: Guard) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 protocol with a guard, for its setting ``http``."""

    class Guarded(H11Protocol):
        _deadline: asyncio.TimerHandle
        _address: str

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._address = _peer(transport)
            guard.admit(self._address, transport)
            self._deadline = self.loop.call_later(guard.request_s, transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._deadline.cancel()
            guard.closed(self._address, self.transport)
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._deadline.cancel()
            self._deadline = self.loop.call_later(guard.request_s, self.transport.abort)
            guard.answered(self._address, self.transport)
            super().on_response_complete()

    return Guarded


def _peer(transport: asyncio.Transport) -> str:
    peer: Any = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
