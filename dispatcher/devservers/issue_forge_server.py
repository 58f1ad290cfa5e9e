"""Serves the small forge of ``issue_forge`` on a loopback port, and posts its webhooks."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dispatcher.devservers.issue_forge import SERVER, IssueForge


@contextmanager
def serving(forge: IssueForge) -> Iterator[str]:
    """Serve the API on a free loopback port until the block ends; yields the forge's address."""

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = SERVER, ""
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one write; else the second waits for an acknowledgement

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length) if length else b""
            token = self.headers.get("Authorization", "").removeprefix("token ")
            target = self.path.removeprefix("/api/v1")
            body = json.loads(content) if content else None
            status, shown, headers = forge.answer(self.command, target, body, token=token)
            data = b"" if status == 204 else json.dumps(shown).encode()
            self.send_response(status)
            for key, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - likewise
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def post_to(url: str) -> Callable[[Mapping[str, str], bytes], None]:
    """A webhook that posts to an address, on a thread of its own as forges do."""

    def post(headers: Mapping[str, str], body: bytes) -> None:
        call = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")  # noqa: S310

        def send() -> None:
            # forges do not retry either
            with suppress(OSError), urllib.request.urlopen(call, timeout=5):  # noqa: S310
                pass

        threading.Thread(target=send, daemon=True).start()

    return post
