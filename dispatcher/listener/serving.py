"""The listener: uvicorn in a thread, with limits on connections, request time and size."""

from __future__ import annotations

import errno
import socket
import threading
from typing import TYPE_CHECKING

from dispatcher.errors import Misconfigured, reason_of

if TYPE_CHECKING:
    from uvicorn import Server

    from dispatcher.listener.exchange import ASGI

REQUEST_S = 15.0
CONNECTIONS = 512
PER_ADDRESS = 32
BACKLOG = 128
"""Connections that the kernel queues."""

ACCEPTED = 8
"""Connections accepted in one turn of the event loop. Many fewer than may be open: or a flood would push
out a genuine request before the loop came to read it.
"""

IDLE_S = 5


class AddressTaken(Misconfigured):
    """Another process listens there."""


class Listener:
    """Serves an ASGI application until it is closed. Use as a context manager.

    Args:
        app: the application; it is called on the listener's thread and must not block.
        listen: ``host:port``; port 0 takes a free one. ``[::1]:8480`` for IPv6.
        request_s: see ``Guard``.
        option: what the user set to ``listen``, for errors.

    Raises:
        Misconfigured: ``listen`` is not an address.
        AddressTaken: another process has it.
    """

    def __init__(
        self,
        app: ASGI,
        *,
        listen: str,
        request_s: float = REQUEST_S,
        option: str = "[http] listen",
    ) -> None:
        self._socket = _listening(listen, option)
        self._app = app
        self._request_s = request_s
        self._server: Server | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)

    @property
    def port(self) -> int:
        """The port that was opened."""
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let requests under way finish for ``guard.CLOSE_S`` seconds, then close every connection."""
        self._closing.set()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(timeout=10)
        self._socket.close()

    def _serve(self) -> None:
        """Run on the listener's thread. Importing uvicorn takes a tenth of a second, for which the
        service need not wait: connections are queued meanwhile.
        """
        from uvicorn import Server

        from dispatcher.listener.guard import Guard, config, guarded

        guard = Guard(request_s=self._request_s, connections=CONNECTIONS, per_address=PER_ADDRESS)
        self._server = Server(config(self._app, guarded(guard), idle_s=IDLE_S, backlog=ACCEPTED))
        if self._closing.is_set():
            self._server.should_exit = True
        self._server.run([self._socket])


class _Listening(socket.socket):
    """Keeps its queue: asyncio asks for one no longer than what it accepts in one turn."""

    def listen(self, backlog: int = BACKLOG, /) -> None:
        super().listen(max(backlog, BACKLOG))


def _listening(listen: str, option: str) -> socket.socket:
    host, colon, port = listen.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 2**16):
        raise Misconfigured(f"{option} is {listen!r}, not host:port")
    try:
        candidates = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        if len(candidates) == 1:
            family, _, _, _, address = candidates[0]
            opened = socket.create_server(address[:2], family=family, backlog=BACKLOG)
            return _Listening(fileno=opened.detach())
    except (OSError, ValueError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise (AddressTaken if taken else Misconfigured)(
            f"{option} {listen} cannot be opened: {reason_of(error)}",
            remedy="Choose a free address, or an empty one for no listener.",
        ) from error
    raise Misconfigured(f"{option} {listen} names several addresses; give one by its number")
