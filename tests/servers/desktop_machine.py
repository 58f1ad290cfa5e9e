"""Stands in for a machine that became a desktop: serves what nginx serves there, by the TLS certificate
that its user data brought, and logs in as Guacamole does, by the key that it brought. It installs and
runs nothing; what it reports is set by the test.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from dispatcher.desktop.probes import DESKTOP_PATH
from dispatcher.desktop.report import REPORT_PATH
from tests.fakes.guacamole import FakeGuacamole
from tests.support.machines import written

PAGE = b"<!doctype html><title>Guacamole</title><p>The desktop</p>"


class DesktopMachine:
    """One machine's pages, before and after its first boot.

    Attributes:
        report: what it reports.
        up: whether Guacamole's page is there.
        guacamole: who logs in there; None before the first boot.
        http_port, https_port: on 127.0.0.1.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.report: dict[str, Any] = {"stage": "installing-packages"}
        self.up = False
        self.guacamole: FakeGuacamole | None = None
        self._stack = stack
        self.http_port = self._serve(None)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.https_port = self._serve(self._context)

    def boot(self, user_data: str, *, up: bool = True) -> None:
        """Take the certificate of the user data, and become a desktop."""
        files = written(user_data)
        with tempfile.TemporaryDirectory() as directory:
            for name in ("cert.pem", "key.pem"):
                (Path(directory) / name).write_bytes(
                    files[f"/etc/disinto-desktop/tls/{name}"].content
                )
            self._context.load_cert_chain(f"{directory}/cert.pem", f"{directory}/key.pem")
        environment = files["/etc/disinto-desktop/guacamole/environment"].content
        key = environment.split(b"JSON_SECRET_KEY=")[1].split()[0]
        self.guacamole = FakeGuacamole(key=bytes.fromhex(key.decode()))
        self.report = {"stage": "final-health-check", "vnc": up, "guacamole": up}
        self.up = up

    def _serve(self, context: ssl.SSLContext | None) -> int:
        machine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b""
                if context is None:
                    self.send_response(301)
                elif self.path == REPORT_PATH:
                    body = json.dumps(machine.report).encode()
                    self.send_response(200)
                else:
                    self.send_response(200 if machine.up and self.path == DESKTOP_PATH else 503)
                    body = PAGE if machine.up else b""
                self.answer(body)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                status, reply = 503, {}
                if machine.guacamole is not None and self.path == f"{DESKTOP_PATH}api/tokens":
                    status, reply = machine.guacamole.log_in(form)
                self.send_response(status)
                self.answer(json.dumps(reply).encode())

            def answer(self, body: bytes) -> None:
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def setup(self) -> None:
                if context is not None:  # in the request's own thread, so that nobody waits for it
                    self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def log_message(self, *_: object) -> None:
                """Silent."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Probes before the first boot find no certificate, and some hang up."""

        server = Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self._stack.callback(server.server_close)
        self._stack.callback(thread.join)
        self._stack.callback(server.shutdown)
        return server.server_port


@contextmanager
def desktop_machine() -> Iterator[DesktopMachine]:
    """A machine until the block ends."""
    with ExitStack() as stack:
        yield DesktopMachine(stack)
