"""Serves the page on a socket, in this process, until it is ended.

Behind uvicorn's own protocol stands the guard of ``serve``'s listener. Only the time in which a request
must arrive is measured otherwise: an answer may last, because events are sent for as long as a browser
listens; see ``dispatcher.page.streams`` for what limits these.
"""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING, Any

from dispatcher.errors import Misconfigured, reason_of
from dispatcher.page.streams import ABORT

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp
    from uvicorn import Server
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from dispatcher.listener.guard import Guard

REQUEST_S = 15.0
"""Seconds in which the head of a request must arrive."""

CONNECTIONS = 1_500
IDLE_S = 15

FILES = CONNECTIONS + 500
"""Open files that the page may need; many systems give a process 1,024."""

SEND_BYTES = 128 * 1024
"""What the kernel keeps for a reader that does not take it; by itself it would keep up to 4 MB for each."""

LOOPBACK = "127.0.0.1"


def listening(port: int, host: str = LOOPBACK) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        Misconfigured: the port is taken.
    """
    try:
        opened = socket.create_server((host, port), backlog=256)
    except OSError as error:
        raise Misconfigured(
            f"port {port} of {host} cannot be used: {reason_of(error)}",
            remedy="Pass another --port, or 0 for a free one.",
        ) from None
    opened.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES
    )  # for its connections as well
    return opened


def server(app: ASGIApp, *, request_s: float = REQUEST_S) -> Server:
    """The server; ``run([socket])`` serves until SIGINT or SIGTERM, or ``should_exit``.

    Args:
        request_s: see ``REQUEST_S``.
    """
    from uvicorn import Server

    from dispatcher.listener.guard import Guard, config

    _allow_files()
    guard = Guard(request_s=request_s, connections=CONNECTIONS, per_address=CONNECTIONS)
    return Server(config(app, _protocol(guard), idle_s=IDLE_S))


def _allow_files() -> None:
    """Raise the soft limit of open files, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if resource.RLIM_INFINITY != soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _protocol(guard: Guard) -> type[H11Protocol]:
    from dispatcher.listener.guard import guarded

    base: Any = guarded(guard)

    class Lasting(base):  # type: ignore[misc]
        """Once the head of a request is here, the application limits what else it waits for.

        Nothing is sent before the kernel has taken all that was sent before. So of a reader that takes nothing no
        more than one event is kept here, beside ``SEND_BYTES``.
        """

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)

        def handle_events(self) -> None:
            super().handle_events()
            if self.cycle is not None and not self.cycle.response_complete:
                self._deadline.cancel()
                self.scope.setdefault("extensions", {})[ABORT] = self.transport.abort

    return Lasting
