"""The connection guard: limits connections, in total and per address, and the time of a request.

uvicorn bounds neither the time in which a request must arrive nor the connections of one client, so
a few dozen that send a byte now and then would exhaust the listener. If there are too many, the
connection that has been longest without an answered request is closed: a genuine request takes
milliseconds, so it is answered however many others wait. No connection is closed in its first moments,
because its request may have arrived and not been read yet. On a loaded machine these moments are long:
what counts is that the loop came to read the connection, not only the time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_BYTES = 32 * 1024
CLOSE_S = 1
"""Seconds that requests in progress have when the server closes."""

GRACE_S = 0.25
"""Seconds for which a new connection is not closed, unless ``connections`` are open."""

GRACE_TURNS = 6
"""Turns of the event loop after them: for what has arrived to be read, judged and answered takes four."""


@dataclass(kw_only=True)
class _OfAddress:
    """The connections of one address, each in the order in which they are to be closed."""

    young: dict[asyncio.Transport, None] = field(default_factory=dict)
    old: dict[asyncio.Transport, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def remove(self, transport: asyncio.Transport) -> bool:
        """Whether it was there."""
        for each in (self.young, self.old):
            if transport in each:
                del each[transport]
                return True
        return False


class Guard:
    """The open connections of one listener. Used by its event loop only.

    Args:
        request_s: seconds from the opening of a connection, or from its last answer, until an
            answer must have been sent: headers, body and answer together.
        connections: how many may be open. Beyond that, one of the address with most is closed.
        per_address: how many that are past their first moments may be open from one address.
    """

    def __init__(self, *, request_s: float, connections: int, per_address: int) -> None:
        self.request_s = request_s
        self._connections = connections
        self._per_address = per_address
        self._count = 0
        self._open: dict[str, _OfAddress] = {}

    def admit(self, address: str, transport: asyncio.Transport) -> None:
        """Count a new connection, and close another if there are too many."""
        if self._count >= self._connections:
            self._end(max(self._open, key=lambda each: len(self._open[each])))
        self._open.setdefault(address, _OfAddress()).young[transport] = None
        self._count += 1

    def matured(self, address: str, transport: asyncio.Transport) -> None:
        """Note that the first moments of a connection are over, and close others if there are too
        many such.
        """
        connections = self._open.get(address)
        if connections is not None and transport in connections.young:
            self._grow(address, connections, transport)

    def answered(self, address: str, transport: asyncio.Transport) -> None:
        """Note an answered request: its connection is now the last to be closed."""
        connections = self._open.get(address)
        if connections is not None and connections.remove(transport):
            self._grow(address, connections, transport)

    def closed(self, address: str, transport: asyncio.Transport) -> None:
        """Note that a connection is closed."""
        connections = self._open.get(address)
        if connections is not None and connections.remove(transport):
            self._count -= 1
            if not connections:
                del self._open[address]

    def _grow(self, address: str, connections: _OfAddress, transport: asyncio.Transport) -> None:
        connections.young.pop(transport, None)
        connections.old[transport] = None
        while len(connections.old) > self._per_address:
            self._end(address)

    def _end(self, address: str) -> None:
        connections = self._open[address]
        oldest = next(iter(connections.old or connections.young))
        self.closed(address, oldest)
        oldest.abort()


def guarded(guard: Guard) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 protocol with a guard, for its setting ``http``."""

    class Guarded(H11Protocol):
        _deadline: asyncio.TimerHandle
        _grace: asyncio.Handle
        _address: str

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._address = _peer(transport)
            guard.admit(self._address, transport)
            self._grace = self.loop.call_later(GRACE_S, self._mature, transport, GRACE_TURNS)
            self._deadline = self.loop.call_later(guard.request_s, transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._deadline.cancel()
            self._grace.cancel()
            guard.closed(self._address, self.transport)
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._deadline.cancel()
            self._deadline = self.loop.call_later(guard.request_s, self.transport.abort)
            guard.answered(self._address, self.transport)
            super().on_response_complete()

        def _mature(self, transport: asyncio.Transport, turns: int) -> None:
            if turns:
                self._grace = self.loop.call_soon(self._mature, transport, turns - 1)
            else:
                guard.matured(self._address, transport)

    return Guarded


def config(app: Any, protocol: type[H11Protocol], *, idle_s: int, backlog: int = 2_048) -> Config:
    """uvicorn's configuration of a server that strangers may reach: nothing but HTTP/1.1 by this protocol.

    Args:
        app: an ASGI application.
        protocol: see ``guarded``.
        idle_s: seconds after which an idle connection is closed.
        backlog: connections accepted in one turn of the event loop; uvicorn's number by default.
    """
    return Config(
        app,
        http=protocol,
        backlog=backlog,
        ws="none",
        loop="asyncio",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=idle_s,
        timeout_graceful_shutdown=CLOSE_S,
    )


def _peer(transport: asyncio.Transport) -> str:
    peer: Any = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
