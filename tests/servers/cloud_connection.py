"""The ways to reach the fake cloud: within this process, and over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

from dispatcher.desktop.cloud import CloudBusy, CloudUnclear
from dispatcher.desktop.digitalocean import Connection
from dispatcher.provision.http import Raw
from tests.servers.cloud import Answer, FakeCloud, Lost, Refused


class Direct(Connection):
    """A connection to the account within this process.

    Args:
        step: called before each request, and before its answer.
    """

    def __init__(self, cloud: FakeCloud, token: str, *, step: Callable[[], None]) -> None:
        self._cloud, self._token, self._step = cloud, token, step

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Raw:
        self._step()
        target = f"{path}?{urlencode(params)}" if params else path
        try:
            answer = self._cloud.answer(method, target, body, token=self._token)
        except Refused:
            raise CloudBusy("DigitalOcean cannot be reached: Connection refused") from None
        except Lost:
            raise CloudUnclear("no answer in time") from None
        self._step()
        return Raw(answer.status, answer.headers, _bytes(answer))


@contextmanager
def serving(cloud: FakeCloud) -> Iterator[str]:
    """Serve it on a free port of the loopback until the block ends; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length) if length else b""
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            try:
                body = json.loads(content) if content else None
                answer = cloud.answer(self.command, self.path, body, token=token)
            except (Lost, Refused):
                self.close_connection = True
                return
            data = _bytes(answer)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256  # beyond it a connection counts as made and is never accepted

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _bytes(answer: Answer) -> bytes:
    if "x-garbage" in answer.headers:
        return b"<html>502"
    return b"" if answer.body is None else json.dumps(answer.body).encode()
