"""The fake of Dokploy, and the pages of its stacks, each on a free port of the loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from dispatcher.stack.platform import PlatformBusy, PlatformUnclear
from tests.servers.dokploy import FakeDokploy


class _Silent(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def reply(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def serving(server: FakeDokploy) -> Iterator[tuple[str, int]]:
    """Serve both until the block ends; yields the address of the API, and the port of the pages."""
    lock = threading.Lock()

    class Api(_Silent):
        def handle_it(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = (json.loads(content) if content else {}) if self.command == "POST" else None
            procedure = parts.path.removeprefix("/api/")
            query = dict(parse_qsl(parts.query))
            try:
                with lock:
                    raw = server.answer(procedure, query, body, self.headers.get("x-api-key", ""))
            except (PlatformBusy, PlatformUnclear):
                return
            self.reply(raw.status, raw.text)

        do_GET = do_POST = handle_it  # noqa: N815 - the library's names

    class Pages(_Silent):
        def do_GET(self) -> None:
            with lock:
                page = server.page(self.headers.get("Host", ""))
            self.reply(200 if page else 502, page.encode())

    with _on_a_port(Api) as api, _on_a_port(Pages) as pages:
        yield f"http://127.0.0.1:{api}", pages


@contextmanager
def _on_a_port(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield http.server_port
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
