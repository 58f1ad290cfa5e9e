"""The fake of Dokploy, and the pages of its stacks, each on a free port of the loopback."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from dispatcher.stack.platform import PlatformBusy, PlatformUnclear
from tests.servers.dokploy import FakeDokploy


class Silent(BaseHTTPRequestHandler):
    """A handler that logs nothing."""

    protocol_version = "HTTP/1.0"

    def reply(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text)

    def handle(self) -> None:
        with suppress(OSError):  # a client that went, or that does not like the certificate
            super().handle()

    def log_message(self, *_: object) -> None:
        """Silent."""


CONNECTIONS, DOMAIN_S = 10, 0.05
"""Of the original to its database, and how long the creation of a domain holds one of them."""


class _Database:
    """``domain.create`` holds a connection while it waits for a second one: once all are held like this, the
    original answers no request that needs any, until it is restarted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._closed = threading.Event()

    @contextmanager
    def used(self, procedure: str) -> Iterator[bool]:
        """While a request is answered; yields whether it is."""
        holds = procedure == "domain.create"
        self._count(holds)
        if holds:
            time.sleep(DOMAIN_S)
        if self._held >= CONNECTIONS:
            self._closed.wait()
            yield False
            return
        try:
            yield True
        finally:
            self._count(-holds)

    def _count(self, more: int) -> None:
        with self._lock:
            self._held += more

    def close(self) -> None:
        self._closed.set()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # many clients may come at once


@contextmanager
def serving(server: FakeDokploy, *, certificate: Path | None = None) -> Iterator[tuple[str, int]]:
    """Serve both until the block ends; yields the address of the API, and the port of the pages.

    Args:
        certificate: of the pages, with its key; None for HTTP.
    """
    lock = threading.Lock()
    database = _Database()

    class Api(Silent):
        def handle_it(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = (json.loads(content) if content else {}) if self.command == "POST" else None
            procedure = parts.path.removeprefix("/api/")
            query = dict(parse_qsl(parts.query))
            try:
                with database.used(procedure) as answers:
                    if not answers:
                        return
                    with lock:
                        key = self.headers.get("x-api-key", "")
                        raw = server.answer(procedure, query, body, key)
            except (PlatformBusy, PlatformUnclear):
                return
            self.reply(raw.status, raw.text)

        do_GET = do_POST = handle_it  # noqa: N815 - the library's names

    class Pages(Silent):
        def do_GET(self) -> None:
            with lock:
                page = server.page(self.headers.get("Host", ""))
            self.reply(200 if page else 502, page.encode())

    with on_a_port(Api) as api, on_a_port(Pages, certificate=certificate) as pages:
        try:
            yield f"http://127.0.0.1:{api}", pages
        finally:
            database.close()


@contextmanager
def on_a_port(
    handler: type[BaseHTTPRequestHandler], *, certificate: Path | None = None
) -> Iterator[int]:
    """Serve until the block ends; yields the port.

    Args:
        certificate: for TLS, with its key; None for HTTP.
    """
    http = _Server(("127.0.0.1", 0), handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # The handshake is left to the handler's thread: a client that sends nothing holds up nobody.
        http.socket = context.wrap_socket(
            http.socket, server_side=True, do_handshake_on_connect=False
        )
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield http.server_port
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
