"""A real Guacamole, guacd and TigerVNC: what we send is accepted, and a desktop is seen."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

import httpx
import pytest

from dispatcher.desktop.credentials import Credentials
from dispatcher.desktop.guacamole import CONNECTION, document, seal, vnc
from dispatcher.operate.desktop_access import (
    DesktopRefused,
    Place,
    Session,
    begin_session,
    end_session,
)
from tests.servers import guacamole

pytestmark = [pytest.mark.needs("guacamole"), pytest.mark.slow]

CREDENTIALS = Credentials.from_hmac(f"vault:v1:{base64.b64encode(bytes(range(32))).decode()}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[guacamole.Guacamole]:
    with guacamole.serve(CREDENTIALS, tmp_path_factory.mktemp("guacamole")) as server:
        yield server


def begin(
    server: guacamole.Guacamole, *, username: str = "ann", credentials: Credentials = CREDENTIALS
) -> Session:
    """What ``disinto desktop open`` does, at the port that the VNC server of the test has."""
    return begin_session(
        Place(base=server.base, fingerprint=server.fingerprint),
        credentials,
        username=username,
        now=time.time(),
        until_s=None,
        vnc_port=server.vnc_port,
    )


def log_in(server: guacamole.Guacamole, data: str, **more: str) -> httpx.Response:
    with server.client() as client:
        return client.post("api/tokens", data={"data": data, **more})


def sealed(server: guacamole.Guacamole, *, name: str = CONNECTION, expires_in_s: float = 60) -> str:
    connections = {name: vnc(CREDENTIALS.vnc_password, port=server.vnc_port)}
    plain = document("ann", connections, expires_s=time.time() + expires_in_s)
    return seal(plain, CREDENTIALS.guacamole_key)


def test_a_desktop_is_seen_reloaded_and_closed(server: guacamole.Guacamole) -> None:
    session = begin(server)
    assert server.connections(session.token) == [CONNECTION]
    with server.tunnel(session.token) as tunnel:
        opcodes = tunnel.opcodes(until="sync")
    assert {"size", "img"} <= set(opcodes), (
        "the derived password opened the VNC server, and it drew"
    )
    # What a reload of the page does: the token alone, and another tunnel.
    with server.client() as client:
        again = client.post("api/tokens", data={"token": session.token})
    assert again.json()["authToken"] == session.token
    with server.tunnel(session.token) as tunnel:
        assert "sync" in tunnel.opcodes(until="sync")
    end_session(session)
    with pytest.raises(httpx.HTTPStatusError):
        server.connections(session.token)
    end_session(session)


def test_a_second_session_of_the_same_person_stands_beside_the_first(
    server: guacamole.Guacamole,
) -> None:
    first, second = begin(server), begin(server)
    assert first.token != second.token
    with server.tunnel(first.token) as one, server.tunnel(second.token) as two:
        assert "sync" in one.opcodes(until="sync")
        assert "sync" in two.opcodes(until="sync")
    end_session(second)
    assert server.connections(first.token) == [CONNECTION]
    end_session(first)


def test_a_document_is_good_for_one_login_and_for_its_key(server: guacamole.Guacamole) -> None:
    data = sealed(server)
    assert log_in(server, data).status_code == 200
    assert log_in(server, data).status_code == 403
    other = replace(CREDENTIALS, guacamole_key=bytes(16))
    with pytest.raises(DesktopRefused):
        begin(server, credentials=other)
    assert log_in(server, sealed(server, expires_in_s=-1)).status_code == 403


def test_expires_also_forbids_every_later_reconnection(server: guacamole.Guacamole) -> None:
    """Why a document is good for a session, and our link for five minutes."""
    token = log_in(server, sealed(server, expires_in_s=4)).json()["authToken"]
    with server.tunnel(token) as tunnel:
        assert "sync" in tunnel.opcodes(until="sync")
    deadline = time.monotonic() + 30
    while server.connections(token) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert server.connections(token) == []
    with pytest.raises(httpx.HTTPStatusError), server.tunnel(token):
        pytest.fail("a tunnel after the document's end")


def test_a_wrong_vnc_password_draws_nothing(server: guacamole.Guacamole) -> None:
    session = begin(server, credentials=replace(CREDENTIALS, vnc_password="notright"))
    with server.tunnel(session.token) as tunnel:
        opcodes = tunnel.opcodes(until="error")
    assert "img" not in opcodes
    end_session(session)


def test_the_logs_of_the_machine_have_no_secret(server: guacamole.Guacamole) -> None:
    session = begin(server, username="carol")
    with server.tunnel(session.token) as tunnel:
        tunnel.opcodes(until="sync")
    end_session(session)
    logs = b"".join(file.read_bytes() for file in server.log.glob("*.log"))
    assert b'"carol"' in logs, "who opened it"
    key = CREDENTIALS.guacamole_key
    for secret in (CREDENTIALS.vnc_password, key.hex(), key.hex().upper(), session.token):
        assert secret.encode() not in logs


def test_a_form_with_a_raw_plus_is_not_what_we_send(server: guacamole.Guacamole) -> None:
    data = next(made for made in iter(lambda: sealed(server), "") if "+" in made)
    with server.client() as client:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        assert client.post("api/tokens", content=f"data={data}", headers=kind).status_code == 403
        body = urlencode({"data": data})
        assert client.post("api/tokens", content=body, headers=kind).status_code == 200
