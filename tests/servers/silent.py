"""A server that takes every connection and never answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Silent:
    """The server.

    Attributes:
        addr: its address.
        asked: released for each connection that has sent something.
        left: released for each connection that its client has closed.
    """

    addr: str
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    left: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def listen(self, client: socket.socket) -> None:
        """Hear one client out."""
        with client, suppress(OSError):
            while client.recv(65_536):
                self.asked.release()
        self.left.release()


@contextmanager
def serve() -> Iterator[Silent]:
    """Serve on a free port of the loopback until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = Silent(addr=f"http://127.0.0.1:{door.getsockname()[1]}")

        def receive() -> None:
            with suppress(OSError):
                while True:
                    client, _ = door.accept()
                    threading.Thread(target=server.listen, args=(client,), daemon=True).start()

        threading.Thread(target=receive, daemon=True).start()
        yield server
        with suppress(OSError):  # closing alone does not wake the thread
            door.shutdown(socket.SHUT_RDWR)
