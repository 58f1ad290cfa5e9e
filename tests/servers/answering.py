"""A server that stands in for Vault and gives every request but one the same answer."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OWN_TOKEN = "/v1/auth/token/lookup-self"


@dataclass(frozen=True, kw_only=True)
class Answering:
    """A running server.

    Attributes:
        addr: its address.
        requests: method and path of what came, in order, without the lookups of our own token.
        headers: of the same requests.
    """

    addr: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)


@contextmanager
def serve(
    status: int = 200,
    body: bytes = b'{"data":{},"auth":{"client_token":"s.fresh","lease_duration":0}}',
    *,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
    until: threading.Event | None = None,
) -> Iterator[Answering]:
    """Serve on a free port of the loopback until the block ends.

    Args:
        status, body, headers: the answer. A lookup of our own token finds one that never ends, so
            that what follows it is reached.
        context: for TLS.
        until: answers come once it is set.
    """

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == OWN_TOKEN:
                self.reply(200, b'{"data":{"ttl":0}}', {})
                return
            server.requests.append((self.command, self.path))
            server.headers.append(dict(self.headers.items()))
            if until is not None:
                until.wait()
            self.reply(status, body, headers or {})

        def reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_LIST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what some tests want."""

    http = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        http.socket = context.wrap_socket(http.socket, server_side=True)
    scheme = "https" if context else "http"
    server = Answering(addr=f"{scheme}://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        if until is not None:
            until.set()
        http.shutdown()
        thread.join()
        http.server_close()
