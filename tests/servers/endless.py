"""A server that sends one line again and again to whoever connects."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Endless:
    """The server, on ``port`` of the loopback."""

    port: int


@contextmanager
def serve(line: bytes) -> Iterator[Endless]:
    """Serve until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def send(client: socket.socket) -> None:
            with client, suppress(OSError):
                while True:
                    client.sendall(line)

        def receive() -> None:
            with suppress(OSError):
                while True:
                    client, _ = door.accept()
                    threading.Thread(target=send, args=(client,), daemon=True).start()

        threading.Thread(target=receive, daemon=True).start()
        try:
            yield Endless(port=door.getsockname()[1])
        finally:
            door.shutdown(socket.SHUT_RDWR)
