"""A stack as it is seen from outside. It is not trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dispatcher.devservers.ports import free_port
from dispatcher.stack.probes import NetworkProber
from tests.servers.dokploy_http import Silent, on_a_port
from tests.servers.git_https import certificate_in

HOST = "alice.stacks.example"


class Page(Silent):
    """Answers ``/health`` by its host name's first word, and ``/`` by 502."""

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        kind = self.headers["Host"].partition(".")[0]
        if kind == "endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 65536)
        status = int(kind) if kind.isdigit() and self.path == "/health" else 502
        self.reply(status, b"version 1" if status == 200 else b"")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def prober(stack: ExitStack, certificate: Path | None = None, **more: Any) -> NetworkProber:
    port = stack.enter_context(on_a_port(Page, certificate=certificate))
    return NetworkProber(address="127.0.0.1", http_port=port, https_port=port, **more)


@pytest.mark.parametrize(
    ("host", "healthy", "trouble"),
    [
        ("200.example", "GET /health: 200", ""),
        ("401.example", "GET /health: 401", ""),
        ("500.example", "", "GET /: 502"),
    ],
)
def test_what_counts_as_an_answer(stack: ExitStack, host: str, healthy: str, trouble: str) -> None:
    probed = prober(stack).look(host, https=False)
    assert (probed.healthy, probed.trouble if not healthy else "") == (healthy, trouble)


def test_an_answer_without_end_is_cut(stack: ExitStack) -> None:
    seen = prober(stack, expected="version 1").look("endless.example", https=False)
    assert (seen.healthy, seen.version) == ("GET /health: 200", False)


def test_a_certificate_is_reported_and_does_not_decide(stack: ExitStack, tmp_path: Path) -> None:
    certificate = certificate_in(tmp_path)
    seen = prober(stack, certificate).look("200.example", https=True)
    assert (seen.healthy, seen.certificate) == ("GET /health: 200", "self-signed certificate")
    known = prober(stack, certificate, authorities=str(certificate))
    assert "200.example" in known.look("200.example", https=True).certificate  # it is another's


def test_a_connection_alone_counts_only_if_that_is_wanted(stack: ExitStack) -> None:
    assert prober(stack, tcp=True).look("500.example", https=False).healthy.startswith("TCP ")
    nobody = NetworkProber(address="127.0.0.1", http_port=free_port(), tcp=True)
    assert nobody.look(HOST, https=False).trouble.startswith(f"no connection to {HOST}")
