"""A limit on all of an exchange: time-outs of sockets start anew with every byte that trickles in."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

PARTS = 3
"""How much longer than one answer all of an exchange may take."""


class Deadline:
    """Connections that are shut down when time is up, which ends whatever waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._over = False

    def watch(self, connection: object) -> None:
        """Have a connection shut down in time; anything but a socket is left alone."""
        if not isinstance(connection, socket.socket):
            return
        # A copy of the descriptor: TLS takes the socket's own away when its handshake begins.
        copy = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._connections.append(copy)
            if self._over:
                _shut(copy)

    def expire(self) -> None:
        """Time is up."""
        with self._lock:
            self._over = True
            for connection in self._connections:
                _shut(connection)

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """Shut down what the block has watched, if it takes longer than this."""
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
