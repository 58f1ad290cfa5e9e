"""A server in front of Vault that redirects some requests to a listener which records them."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP_BY_HOP = ("transfer-encoding", "connection", "content-length")


@dataclass(kw_only=True)
class Redirecting:
    """The pair.

    Attributes:
        addr: the server in front; what it does not redirect it forwards to ``behind``.
        target: where it redirects to.
        asked: paths of the requests that came to ``addr``, in order.
        arrived: whole requests (headers and body) that came to ``target``.
    """

    addr: str = ""
    target: str = ""
    asked: list[str] = field(default_factory=list)
    arrived: list[str] = field(default_factory=list)


@contextmanager
def serve(
    behind: str = "", *, status: int = 307, where: Callable[[str], bool] = lambda _path: True
) -> Iterator[Redirecting]:
    """Serve on free ports of the loopback until the block ends.

    Args:
        behind: address of the real server.
        status: of the redirects.
        where: which paths are redirected.
    """
    pair = Redirecting()

    class Front(_Every):
        def answer(self) -> None:
            pair.asked.append(self.path)
            body = self.body()
            if where(self.path):
                self.send_response(status)
                self.send_header("Location", pair.target + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            there = http.client.HTTPConnection(urlsplit(behind).netloc, timeout=10)
            there.request(self.command, self.path, body, dict(self.headers))
            answer = there.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            there.close()

    class Target(_Every):
        def answer(self) -> None:
            pair.arrived.append(f"{self.command} {self.path}\n{self.headers}{self.body()!r}")
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    with _listening(Front) as pair.addr, _listening(Target) as pair.target:
        yield pair


class _Every(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def do_LIST(self) -> None:
        self.answer()

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def _listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
