"""Opening a desktop: to whom a document is sent, what of it is in an address, and what ends it."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from dispatcher.desktop.certificate import make_certificate
from dispatcher.desktop.credentials import Credentials
from dispatcher.errors import DisintoError, Exit, InvalidValue, Misconfigured
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.desktop_access import (
    SESSION_S,
    DesktopRefused,
    DesktopUnreachable,
    NotActive,
    NotBelieved,
    Place,
    Session,
    Target,
    begin_session,
    end_session,
    place_of,
)
from dispatcher.operate.desktop_opening import open_desktop
from tests.fakes.guacamole import FakeGuacamole, serving

CREDENTIALS = Credentials.from_hmac(f"vault:v1:{base64.b64encode(bytes(32)).decode()}")
PIN = "ab" * 32
ENTRY = InventoryEntry(
    kind="desktop",
    id="desk-1",
    blob="b" * 40,
    result="desk-1",
    entry={"state": "ACTIVE", "address": "198.51.100.7", "fingerprint": PIN},
)


def entry(**changed: Any) -> InventoryEntry:
    return replace(ENTRY, entry={**ENTRY.entry, **changed})


@pytest.fixture
def guacamole(tmp_path: Path) -> Iterator[FakeGuacamole]:
    with serving(CREDENTIALS.guacamole_key, tmp_path) as fake:
        yield fake


def begin(
    fake: FakeGuacamole, *, pin: str = "", credentials: Credentials = CREDENTIALS, **more: Any
) -> Session:
    place = Place(base=fake.base, fingerprint=pin or fake.fingerprint)
    facts: dict[str, Any] = {"username": "ann", "now": time.time(), "until_s": None, **more}
    return begin_session(place, credentials, **facts)


# -- where ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "target", "place"),
    [
        ({}, None, Place(base="https://198.51.100.7/guacamole/", fingerprint=PIN)),
        (
            {"address": "2001:db8::7"},
            Target.IP,
            Place(base="https://[2001:db8::7]/guacamole/", fingerprint=PIN),
        ),
        (
            {"address": "127.0.0.1:8443"},
            None,
            Place(base="https://127.0.0.1:8443/guacamole/", fingerprint=PIN),
        ),
        (
            {"gateway_host": "desks.example"},
            None,
            Place(base="https://desk-1.desks.example/guacamole/"),
        ),
        (
            {"gateway_host": "desks.example"},
            Target.IP,
            Place(base="https://198.51.100.7/guacamole/", fingerprint=PIN),
        ),
    ],
)
def test_where_a_desktop_is_reached(
    facts: dict[str, Any], target: Target | None, place: Place
) -> None:
    assert place_of(entry(**facts), target) == place


@pytest.mark.parametrize(
    ("made", "target", "error", "code"),
    [
        (replace(ENTRY, problem="it differs"), None, NotBelieved, Exit.NOPERM),
        (entry(state="ERROR"), None, NotActive, Exit.TEMPFAIL),
        (entry(state=""), None, NotActive, Exit.TEMPFAIL),
        (entry(), Target.GATEWAY, Misconfigured, Exit.CONFIG),
        (replace(entry(gateway_host="d.example"), id="a_b"), None, Misconfigured, Exit.CONFIG),
        (entry(fingerprint=""), None, InvalidValue, Exit.DATAERR),
        (entry(fingerprint="ab"), None, InvalidValue, Exit.DATAERR),
        (entry(address=""), None, InvalidValue, Exit.DATAERR),
        (entry(address="198.51.100.7/x?"), None, InvalidValue, Exit.DATAERR),
        (entry(address="evil.example"), None, InvalidValue, Exit.DATAERR),
        (entry(address="a@198.51.100.7:443/"), None, InvalidValue, Exit.DATAERR),
    ],
)
def test_what_is_not_opened(
    made: InventoryEntry, target: Target | None, error: type[DisintoError], code: Exit
) -> None:
    with pytest.raises(error) as refused:
        place_of(made, target)
    assert refused.value.exit_code == code
    assert refused.value.remedy


# -- a session -----------------------------------------------------------------------------


def test_one_whose_lifetime_is_over_is_not_opened() -> None:
    """Guacamole would refuse the login, as it does with a wrong key."""
    closed: list[bool] = []
    vault: Any = SimpleNamespace(close=lambda: closed.append(True))
    settings: Any = None
    over = replace(ENTRY, expires_at="2027-01-15T08:00:00.000Z")
    with pytest.raises(NotActive, match=r"desk-1 expired at 2027-01-15T08:00:00\.000Z"):
        open_desktop(
            over, place=place_of(over), vault=vault, settings=settings, username="ann", now=1.8e9
        )
    assert closed


def test_a_document_is_exchanged_and_its_secrets_are_in_no_address(
    guacamole: FakeGuacamole,
) -> None:
    now = time.time()
    session = begin(guacamole, now=now)
    assert guacamole.requests == [("POST", "/guacamole/api/tokens", "")]
    (made,) = guacamole.documents
    assert made["username"] == "ann"
    assert made["singleUse"] is True
    assert made["expires"] == pytest.approx((now + SESSION_S) * 1000, abs=1)
    assert made["connections"]["desktop"]["parameters"]["password"] == CREDENTIALS.vnc_password
    parts = urlsplit(session.url)
    assert parts.fragment.endswith(f"?token={session.token}")
    assert not parts.query
    assert CREDENTIALS.vnc_password not in session.url
    assert session.token not in repr(session)
    end_session(session)
    assert not guacamole.sessions
    end_session(session)
    assert {query for _, _, query in guacamole.requests} == {""}


def test_two_people_and_one_person_twice_have_a_session_each(guacamole: FakeGuacamole) -> None:
    tokens = {begin(guacamole, username=name).token for name in ("ann", "bob", "ann")}
    assert len(tokens) == 3


def test_a_session_ends_with_the_desktop(guacamole: FakeGuacamole) -> None:
    until = time.time() + 60
    assert begin(guacamole, until_s=until).until_s == until


def test_a_machine_with_another_key_refuses(guacamole: FakeGuacamole) -> None:
    other = Credentials.from_hmac(f"vault:v1:{base64.b64encode(bytes([1] * 32)).decode()}")
    with pytest.raises(DesktopRefused, match="refuses the login") as refused:
        begin(guacamole, credentials=other)
    assert refused.value.exit_code == Exit.NOPERM
    assert other.vnc_password not in str(refused.value)


def test_nothing_is_sent_to_a_machine_with_another_certificate(guacamole: FakeGuacamole) -> None:
    with pytest.raises(DesktopUnreachable, match="not the one with the fingerprint"):
        begin(guacamole, pin="cd" * 32)
    assert not guacamole.requests


def test_without_a_pin_the_certificate_is_verified_as_browsers_do(guacamole: FakeGuacamole) -> None:
    with pytest.raises(DesktopUnreachable, match="certificate"):
        begin_session(
            Place(base=guacamole.base), CREDENTIALS, username="ann", now=time.time(), until_s=None
        )
    assert not guacamole.requests


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (302, {"Location": "https://203.0.113.66/guacamole/api/tokens"}, b""),
        (502, {}, b""),
        (200, {}, b"<html>"),
        (200, {}, b"[" * 9000),
        (200, {}, json.dumps({"authToken": "x" * 64 + '"&#<'}).encode()),
        (200, {}, json.dumps({"authToken": "A" * 90_000}).encode()),
        (200, {}, json.dumps({"authToken": 5}).encode()),
    ],
)
def test_whatever_else_it_answers_is_no_session(
    guacamole: FakeGuacamole, status: int, headers: dict[str, str], body: bytes
) -> None:
    guacamole.answer = (status, headers, body)
    with pytest.raises(DesktopUnreachable) as trouble:
        begin(guacamole)
    assert trouble.value.exit_code == Exit.UNAVAILABLE


def test_a_machine_that_is_gone_is_unreachable() -> None:
    from dispatcher.devservers.ports import free_port

    place = Place(base=f"https://127.0.0.1:{free_port()}/guacamole/", fingerprint=PIN)
    with pytest.raises(DesktopUnreachable, match="cannot be reached: Connection refused"):
        begin_session(place, CREDENTIALS, username="ann", now=time.time(), until_s=None)


def test_ids_of_desktops_are_completed_from_the_right_place() -> None:
    from dispatcher.cli.ids import DESKTOPS
    from dispatcher.model.inventory_entry import entry_path

    assert entry_path("desktop", "x") == f"{DESKTOPS}x.json"


# -- a slow machine ------------------------------------------------------------------------


@contextmanager
def dripping(
    server: socket.socket, secure: Callable[[socket.socket], socket.socket], data: bytes
) -> Iterator[None]:
    """Sends an answer byte by byte, so that no single read waits for long."""

    def serve() -> None:
        with suppress(OSError):
            plain, _ = server.accept()
            with plain, secure(plain) as connection:
                if connection is not plain:
                    connection.recv(65536)
                for byte in data:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.02)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize("slow", ["the handshake", "its headers", "its body"])
def test_a_machine_that_answers_a_byte_at_a_time_is_not_waited_for(
    slow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.operate.desktop_access.TIMEOUT_S", 0.4)
    certificate = make_certificate("desk-1", now=time.time())
    file = tmp_path / "machine.pem"
    file.write_text(certificate.pem + certificate.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    head = b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 9
    # A record of TLS that is announced, and whose bytes follow one by one.
    secure, data = {
        "the handshake": (lambda plain: plain, b"\x16\x03\x03\x40\x00" + b"x" * 60),
        "its headers": (lambda plain: context.wrap_socket(plain, server_side=True), head),
        "its body": (lambda plain: context.wrap_socket(plain, server_side=True), b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 50),
    }[slow]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as server, dripping(server, secure, data):
        port = server.getsockname()[1]
        place = Place(
            base=f"https://127.0.0.1:{port}/guacamole/", fingerprint=certificate.fingerprint
        )
        with pytest.raises(DesktopUnreachable, match=r"no whole answer within 0\.4 seconds"):
            begin_session(place, CREDENTIALS, username="ann", now=time.time(), until_s=None)
