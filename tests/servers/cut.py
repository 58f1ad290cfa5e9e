"""A way to a server that can be cut for some requests, or fall silent, as networks do."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(kw_only=True)
class Way:
    """A TCP proxy on the loopback.

    Attributes:
        addr: its own address, instead of the server's.
        seen: how many connections began with a request that is to be cut.
        broken: while True such connections are closed, and new ones refused with ``answer``.
        refused: first lines of the requests that were.
    """

    addr: str
    target: tuple[str, int]
    needle: bytes
    seen: int = 0
    broken: bool = False
    answer: bytes = b""
    refused: list[str] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)

    def cut(self, answer: bytes = b"") -> None:
        """Close the connections of such requests, and every new one, until ``mend``.

        Args:
            answer: what new requests get before that, as from a proxy whose server is gone.
        """
        self.broken, self.answer = True, answer
        self.refused.clear()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.broken = False

    def carry(self, client: socket.socket) -> None:
        """Carry one connection until either end closes it."""
        with client, suppress(OSError), socket.create_connection(self.target, timeout=10) as server:
            ends = {client: server, server: client}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(65_536)
                    if not data:
                        return
                    if end is client and self.needle in data.split(b"\r\n", 1)[0]:
                        self.seen += 1
                        self._open.append(client)
                        if self.broken:
                            self.refused.append(data.split(b"\r\n", 1)[0].decode())
                            client.sendall(self.answer)
                            return
                    ends[end].sendall(data)


@contextmanager
def way_to(addr: str, *, needle: str) -> Iterator[Way]:
    """A way to the server at ``addr``; requests with ``needle`` in their first line can be cut."""
    parts = urlsplit(addr)
    with socket.create_server(("127.0.0.1", 0)) as door:
        way = Way(
            addr=f"http://127.0.0.1:{door.getsockname()[1]}",
            target=(parts.hostname or "", parts.port or 80),
            needle=needle.encode(),
        )

        def welcome() -> None:
            while True:
                try:
                    client, _ = door.accept()
                except OSError:
                    return
                threading.Thread(target=way.carry, args=(client,), daemon=True).start()

        threading.Thread(target=welcome, daemon=True).start()
        yield way
