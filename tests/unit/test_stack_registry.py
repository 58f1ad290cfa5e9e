"""A registry that is asked whether an image can be pulled: whatever it does, the answer comes in time."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dispatcher.devservers.ports import free_port
from dispatcher.stack.registry import why_unavailable
from tests.servers.dokploy_http import Silent, on_a_port
from tests.servers.git_https import certificate_in

SOON_S = 0.5
"""Deadline of what would never end."""

LATE = "its registry cannot be asked: no answer in time"


class Registry(Silent):
    """What it does depends on the image. Its tokens come over TLS, from ``tokens``."""

    tokens = ""
    ended = threading.Event()
    requested: list[str]

    def do_HEAD(self) -> None:  # noqa: N802 - the library's name
        self.requested.append(self.path)
        image = self.path.split("/")[2]
        if self.headers.get("Authorization") == "Bearer anonymous":
            self.reply(200, b"")
        elif image == "drips":
            self.drip(b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n")
        elif image == "moved":
            self.send_response(307)
            self.send_header("Location", "/v2/here/manifests/1")
            self.end_headers()
        elif image in ("here", "gone"):
            self.reply(200 if image == "here" else 404, b"")
        else:
            realm = (
                f"{self.tokens}/{image}?x=1"
                if image != "private"
                else f"http://{self.headers['Host']}/token"
            )
            self.send_response(401)
            header = f'Bearer realm="{realm}",service="registry",scope="pull"'
            self.send_header("WWW-Authenticate", "Bearer" if image == "login" else header)
            self.end_headers()

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        """A token."""
        parts = urlsplit(self.path)
        self.requested.append(self.path)
        if parts.path == "/slow":
            self.drip(b"HTTP/1.1 200 OK\r\n\r\n", b" ")
        elif parts.path == "/endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b" " * 65536)
        elif parts.path == "/odd":
            self.reply(200, b"[" * 100_000)
        else:
            assert parse_qs(parts.query) == {"x": ["1"], "service": ["registry"], "scope": ["pull"]}
            self.reply(200, b'{"token": "anonymous"}')

    def drip(self, begin: bytes, more: bytes) -> None:
        """Answer so slowly that no single wait is long."""
        self.wfile.write(begin)
        while not self.ended.wait(SOON_S / 20):
            self.wfile.write(more)
            self.wfile.flush()


@contextmanager
def registry(root: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Its port, and TLS that trusts it."""
    certificate = certificate_in(root)
    with ExitStack() as stack:
        stack.callback(Registry.ended.set)
        tokens = stack.enter_context(on_a_port(Registry, certificate=certificate))
        Registry.tokens, Registry.requested = f"https://127.0.0.1:{tokens}", []
        Registry.ended.clear()
        yield (
            stack.enter_context(on_a_port(Registry)),
            ssl.create_default_context(cafile=str(certificate)),
        )


@pytest.mark.parametrize(
    ("image", "why", "requests"),
    [
        ("here", "", 1),
        ("gone", "its registry does not have it", 1),
        ("moved", "its registry answers 307", 1),
        ("login", "its registry wants a login", 1),
        ("private", "its registry wants a login", 1),  # its tokens are without TLS
        ("public", "", 3),
        ("odd", "its registry wants a login", 2),
        ("endless", "its registry wants a login", 2),
        ("drips", LATE, 1),
        ("slow", LATE, 2),
    ],
)
def test_whether_an_image_can_be_pulled(
    image: str, why: str, requests: int, tmp_path: Path
) -> None:
    total_s = SOON_S if why == LATE else 20
    with registry(tmp_path) as (port, trusted):
        reference = f"127.0.0.1:{port}/{image}:1"
        assert why_unavailable(reference, total_s=total_s, trusted=trusted) == why
        assert len(Registry.requested) == requests


def test_a_registry_that_is_not_there_and_one_whose_answer_is_odd(tmp_path: Path) -> None:
    assert "cannot be asked" in why_unavailable(f"127.0.0.1:{free_port()}/here:1")
    with registry(tmp_path) as (port, trusted):
        Registry.tokens = "https://[::1"
        why = why_unavailable(f"127.0.0.1:{port}/public:1", trusted=trusted)
    assert why == "its registry wants a login"
    with registry(tmp_path) as (port, trusted):
        Registry.tokens = "https://exa mple"
        why = why_unavailable(f"127.0.0.1:{port}/public:1", trusted=trusted)
    assert why.startswith("its registry cannot be asked")
