"""How the adapter reaches a server: TLS with our own authorities, server names, sockets."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Misconfigured, Unavailable
from tests.support.authority import Authority

SERVER_NAME = "server.global.nomad"


class _Jobs(BaseHTTPRequestHandler):
    """Answers ``[]`` and keeps what was asked."""

    asked: list[tuple[str, str]]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers.get("X-Nomad-Token", "")))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def address_string(self) -> str:
        return "peer"

    def log_message(self, *words: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def _serving(context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    handler = type("Jobs", (_Jobs,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        scheme = "https" if context else "http"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}", handler.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def strict(authority: Authority) -> ssl.SSLContext:
    """A server named as Nomad's are, who wants to see a certificate of ours."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.load_cert_chain(*authority.issue(SERVER_NAME))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_mutual_tls_with_a_server_name(authority: Authority, strict: ssl.SSLContext) -> None:
    certificate, key = authority.issue("client.global.nomad")
    with _serving(strict) as (addr, asked):
        api = NomadApi(
            NomadSettings(
                addr=addr,
                cacert=authority.certificate,
                client_cert=certificate,
                client_key=key,
                tls_server_name=SERVER_NAME,
                region="europe",
                namespace="ops",
            ),
            {"NOMAD_TOKEN": "t"},
        )
        assert api.jobs() == []
        assert api.nodes() == []
    assert asked == [
        ("/v1/jobs?namespace=ops&region=europe&per_page=1000", "t"),
        ("/v1/nodes?namespace=ops&region=europe", "t"),
    ]


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("cacert", "certificate verify failed"),
        ("tls_server_name", "IP address mismatch|not valid for"),
        ("client_cert", "certificate required|EOF|closed|reset|disconnected|Broken pipe"),
    ],
)
def test_what_is_missing_in_mutual_tls_stops_every_call(
    authority: Authority, strict: ssl.SSLContext, left_out: str, told: str
) -> None:
    certificate, key = authority.issue("client.global.nomad")
    given = {
        "cacert": authority.certificate,
        "client_cert": certificate,
        "client_key": key,
        "tls_server_name": SERVER_NAME,
    }
    del given[left_out]
    with _serving(strict) as (addr, asked):
        api = NomadApi(NomadSettings(addr=addr, **given), {"NOMAD_TOKEN": "t"})  # type: ignore[arg-type]
        for ask in (api.jobs, api.nodes):  # by httpx directly, and by python-nomad
            with pytest.raises(Unavailable, match=told):
                ask()
    assert asked == []


def test_another_authoritys_server_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*other.issue("impostor", address="127.0.0.1"))
    with _serving(context) as (addr, asked):
        api = NomadApi(NomadSettings(addr=addr, cacert=authority.certificate), {"NOMAD_TOKEN": "t"})
        with pytest.raises(Unavailable, match="certificate verify failed"):
            api.jobs()
    assert asked == []


def test_the_task_api_is_a_socket(tmp_path: Path) -> None:
    handler = type("Jobs", (_Jobs,), {"asked": []})
    path = tmp_path / "api.sock"
    with ThreadingUnixStreamServer(str(path), handler) as server:
        server.daemon_threads = True  # kept connections are not waited for
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert NomadApi(NomadSettings(addr=f"unix://{path}"), {"NOMAD_TOKEN": "t"}).jobs() == []
        server.shutdown()
        thread.join()


def test_proxies_and_netrc_get_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with _serving() as (addr, asked):
        assert NomadApi(NomadSettings(addr=addr), {"NOMAD_TOKEN": "t"}).jobs() == []
    assert len(asked) == 1


@pytest.mark.parametrize("addr", ["", "nomad:4646", "ftp://nomad", "http://"])
def test_an_address_that_is_none_is_refused(addr: str) -> None:
    with pytest.raises(Misconfigured, match="addr"):
        NomadApi(NomadSettings(addr=addr), {})


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    for settings in (
        NomadSettings(addr="https://nomad:4646", cacert=tmp_path / "nothing.pem"),
        NomadSettings(addr="https://nomad:4646", client_cert=tmp_path / "nothing.pem"),
    ):
        with pytest.raises(Misconfigured, match="certificate"):
            NomadApi(settings, {})
