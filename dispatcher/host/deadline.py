"""A deadline for a whole exchange, because a socket's timeout restarts with every byte received.

With httpx: ``extensions={"trace": limit.trace}``, and a new connection for each request.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping

PARTS = 3
"""Deadline of a whole exchange, as a multiple of the timeout of one answer."""


class Deadline:
    """Connections that are shut down at the deadline, which ends all calls that wait for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._over = False

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        return self._over

    def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Watch each connection that httpcore opens: its ``trace`` extension calls this."""
        if event == "connection.connect_tcp.complete":
            get = getattr(info.get("return_value"), "get_extra_info", None)
            if get is not None:
                self.watch(get("socket"))

    def watch(self, connection: object) -> None:
        """Have a connection shut down at the deadline; anything but a socket is ignored."""
        if not isinstance(connection, socket.socket):
            return
        # A copy of the descriptor: TLS takes the socket's own away when its handshake begins.
        copy = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._connections.append(copy)
            if self._over:
                _shut(copy)

    def expire(self) -> None:
        """Shut down all connections."""
        with self._lock:
            self._over = True
            for connection in self._connections:
                _shut(connection)

    def close(self) -> None:
        """Close the copies of all descriptors."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """Shut down the connections that the block watches, if it takes longer than this."""
    limit = Deadline()
    timer = threading.Timer(seconds, limit.expire)
    timer.daemon = True
    timer.start()
    try:
        yield limit
    finally:
        timer.cancel()
        limit.close()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
