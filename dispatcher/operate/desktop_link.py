"""A link on the loopback that works once and leads to the address that opens a desktop.

Only who has the link is redirected, once, within five minutes; so it is what people click, and the session
token is in no output, no process argument and no file. The link's own secret is 256 bits in its path.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dispatcher.errors import Exit, Misconfigured, PermanentError

VALID_S = 300.0
"""Seconds for which a link works."""

_HOST = "127.0.0.1"
_REQUEST_S = 5.0
_NO_LINK = b"This is not the link that 'disinto desktop open' has printed.\n"
_GONE = b"This link was used, or has expired. Run 'disinto desktop open' again.\n"


class LinkUnused(PermanentError):
    """Nobody used the link while it was valid."""

    exit_code = Exit.TEMPFAIL


class Link:
    """The link; see ``serve_link``.

    Attributes:
        url: what to click.
        port: it listens on.
    """

    def __init__(self, target: str, port: int) -> None:
        self._path = f"/{secrets.token_urlsafe(32)}"
        self._target = target
        self._lock = threading.Lock()
        self._used = threading.Event()
        self._over = False
        try:
            self._server = _Server((_HOST, port), self)
        except OSError as error:
            raise Misconfigured(
                f"port {port} of the loopback cannot be used: {error.strerror}",
                remedy="Pass another --port, or none.",
            ) from None
        self.port = int(self._server.server_address[1])
        self.url = f"http://{_HOST}:{self.port}{self._path}"

    def wait(self, timeout_s: float = VALID_S) -> bool:
        """Wait until it was used; False if it was not in time. It does not work afterwards."""
        used = self._used.wait(timeout_s)
        with self._lock:
            self._over = True
        return used or self._used.is_set()

    def redeem(self, path: str) -> str | None:
        """The target of a request's path, once; "" for a path that worked before, None for another."""
        if not hmac.compare_digest(path.encode("utf-8", "replace"), self._path.encode()):
            return None
        with self._lock:
            if self._over:
                return ""
            self._over = True
            return self._target

    def redeemed(self) -> None:
        """The answer with the target was sent."""
        self._used.set()

    def serve(self) -> None:
        """Answer requests until ``close``."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serve_link(target: str, *, port: int = 0) -> Iterator[Link]:
    """Serve a link while the block runs.

    Args:
        target: address that it leads to.
        port: to listen on; 0 for any.

    Raises:
        Misconfigured: the port is taken.
    """
    link = Link(target, port)
    thread = threading.Thread(target=link.serve, name="link", daemon=True)
    thread.start()
    try:
        yield link
    finally:
        link.close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], link: Link) -> None:
        self.link = link
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_S
    server_version, sys_version = "disinto", ""

    def do_GET(self) -> None:
        link = self.server.link
        if self.headers.get("Host", "") not in (f"{_HOST}:{link.port}", f"localhost:{link.port}"):
            self._answer(421, _NO_LINK)
            return
        if "prefetch" in self.headers.get(
            "Sec-Purpose", ""
        ):  # a guess of the browser's, not a click
            self._answer(503, b"")
            return
        target = link.redeem(self.path)
        if target is None:
            self._answer(404, _NO_LINK)
        elif not target:
            self._answer(410, _GONE)
        else:
            self._answer(302, b"", location=target)
            link.redeemed()

    def _answer(self, status: int, body: bytes, *, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing: the path is a secret."""
