"""A stand-in for a desktop's Guacamole behind its TLS: logs in by a sealed document, and ends sessions.

As the real 1.6.0 does, it answers 403 to a document that is sealed with another key, has unknown keys or an
``expires`` that is over (or in seconds), or is single-use and was used; keeps what ``expires`` ends apart
from the session; and revokes by ``DELETE api/session``. It leaves out: every page, every tunnel, ``token``
beside ``data``, what else the REST API has, and the end of idle sessions. The real one is in
``tests/servers/guacamole.py``.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dispatcher.desktop.certificate import make_certificate
from dispatcher.desktop.guacamole import unseal

_KEYS = {"username", "expires", "connections", "singleUse"}
_CONNECTION_KEYS = {"protocol", "parameters", "id", "join", "singleUse"}


@dataclass(kw_only=True)
class FakeGuacamole:
    """Its state, for tests to look at and to change.

    Attributes:
        key: what it accepts.
        fingerprint: of its certificate.
        requests: method and path of each request, and its query, in order.
        documents: what was accepted.
        sessions: the document of each session, by its token.
        answer: given instead of its own answers, if set: status, headers and body.
    """

    key: bytes
    port: int = 0
    fingerprint: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    answer: tuple[int, dict[str, str], bytes] | None = None
    _used: set[str] = field(default_factory=set)

    @property
    def base(self) -> str:
        return f"https://127.0.0.1:{self.port}/guacamole/"

    def log_in(self, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        (data,) = form.get("data", [""])
        try:
            document = json.loads(unseal(data, self.key))
        except ValueError:
            return 403, {"type": "INVALID_CREDENTIALS"}
        single = document.get("singleUse", False)
        fit = (
            document.keys() <= _KEYS
            and all(c.keys() <= _CONNECTION_KEYS for c in document["connections"].values())
            and document.get("expires", time.time() * 1000 + 1) > time.time() * 1000
            and not (single and "expires" not in document)
            and not (single and data in self._used)
        )
        if not fit:
            return 403, {"type": "INVALID_CREDENTIALS"}
        self._used.add(data)
        self.documents.append(document)
        token = f"{len(self.documents):064X}"
        self.sessions[token] = document
        return 200, {"authToken": token, "username": document["username"], "dataSource": "json"}


@contextmanager
def serving(
    key: bytes, directory: Path, *, desktop_id: str = "desk", port: int = 0
) -> Iterator[FakeGuacamole]:
    """Serve one on the loopback, with a certificate of its own."""
    certificate = make_certificate(desktop_id, now=time.time())
    file = directory / "guacamole.pem"
    file.write_text(certificate.pem + certificate.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    fake = FakeGuacamole(key=key, fingerprint=certificate.fingerprint)
    server = _Server(("127.0.0.1", port), _Handler)
    server.fake, server.context = fake, context
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeGuacamole
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(10)
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust the certificate goes away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._seen()
        if self.server.fake.answer is not None:
            self._given()
        elif urlsplit(self.path).path != "/guacamole/api/tokens":
            self._reply(404, {})
        else:
            self._reply(*self.server.fake.log_in(form))

    def do_DELETE(self) -> None:
        self._seen()
        token = self.headers.get("Guacamole-Token", "")
        known = self.server.fake.sessions.pop(token, None)
        self._reply(404 if known is None else 204, {})

    def _seen(self) -> None:
        parts = urlsplit(self.path)
        self.server.fake.requests.append((self.command, parts.path, parts.query))

    def _given(self) -> None:
        status, headers, body = self.server.fake.answer or (500, {}, b"")
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        data = b"" if status == 204 else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Silent."""
