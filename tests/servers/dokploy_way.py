"""A way to a Dokploy that kills a client at one of its requests: before the server gets it, or before the client
gets the answer.
"""

from __future__ import annotations

import http.client
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.servers.dokploy_http import Silent, on_a_port


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Where a client is killed.

    Attributes:
        procedure: of the request.
        answered: whether the server gets the request, and only its answer is lost.
        nth: which of the client's requests of this procedure, from 1.
    """

    procedure: str
    answered: bool
    nth: int = 1

    def __str__(self) -> str:
        number = f"-{self.nth}" if self.nth > 1 else ""
        return f"{self.procedure}{number}-{'after' if self.answered else 'before'}"


@dataclass(kw_only=True)
class Way:
    """A proxy on the loopback.

    Attributes:
        url: its own address, in place of the server's.
        boundary: None for never.
        counts: of the requests of each procedure.
    """

    url: str = ""
    target: str
    boundary: Boundary | None = None
    counts: dict[str, int] = field(default_factory=dict)
    _clients: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def deadly(self, boundary: Boundary) -> Iterator[Callable[[int], None]]:
        """Kill the client there whose process id the block tells."""
        self.boundary, self.counts = boundary, {}
        yield self._clients.put
        self.boundary = None

    def is_due(self, procedure: str) -> Boundary | None:
        """The boundary, if this request is at it."""
        with self._lock:
            count = self.counts[procedure] = self.counts.get(procedure, 0) + 1
            here = self.boundary
            return here if here and (here.procedure, here.nth) == (procedure, count) else None

    def kill(self) -> None:
        self.boundary = None
        os.kill(self._clients.get(timeout=60), signal.SIGKILL)


@contextmanager
def way_to(url: str) -> Iterator[Way]:
    """A way to the server at this address, until the block ends."""
    way = Way(target=urlsplit(url).netloc)

    class Carrier(Silent):
        def do_GET(self) -> None:  # noqa: N802 - the library's name
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            boundary = way.is_due(urlsplit(self.path).path.removeprefix("/api/"))
            if boundary and not boundary.answered:
                way.kill()
                return
            connection = http.client.HTTPConnection(way.target, timeout=120)
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            text = answer.read()
            connection.close()
            if boundary:
                way.kill()
                return
            self.send_response(answer.status)
            for name in ("Content-Type", "Content-Encoding", "Retry-After"):
                if value := answer.headers.get(name):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815 - the library's name

    with on_a_port(Carrier) as port:
        way.url = f"http://127.0.0.1:{port}"
        yield way
