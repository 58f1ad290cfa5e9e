"""A stream from the real guacd and Guacamole, behind the nginx of a desktop's machine."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from dispatcher.desktop.guacamole import document, seal, vnc
from dispatcher.desktop.machine import user_data
from tests.servers import desktop_container
from tests.servers.desktop_container import DesktopContainer
from tests.support import machines

pytestmark = [pytest.mark.needs("docker", "desktop", "guacamole"), pytest.mark.slow]


@pytest.fixture(scope="module")
def machine() -> Iterator[DesktopContainer]:
    guacamole = Path(os.environ["GUACAMOLE_DIST"]).resolve()
    with desktop_container.boot(user_data(machines.machine()), guacamole=guacamole) as machine:
        machine.await_ready()
        yield machine


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=machines.certificate().pem)
    context.check_hostname = False
    return context


def _document(password: str, name: str = "desktop") -> str:
    plain = document("somebody", {name: vnc(password)}, expires_s=time.time() + 600)
    return seal(plain, machines.CREDENTIALS.guacamole_key)


def _login(machine: DesktopContainer, data: str) -> httpx.Response:
    url = f"https://{machine.ip}/guacamole/api/tokens"
    return httpx.post(url, data={"data": data}, verify=_context(), timeout=60)


@contextmanager
def _tunnel(machine: DesktopContainer, token: str) -> Iterator[ssl.SSLSocket]:
    query = {"token": token, "GUAC_DATA_SOURCE": "json", "GUAC_ID": "desktop", "GUAC_TYPE": "c"}
    query |= {
        "GUAC_WIDTH": "800",
        "GUAC_HEIGHT": "600",
        "GUAC_DPI": "96",
        "GUAC_IMAGE": "image/png",
    }
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    request = (
        f"GET /guacamole/websocket-tunnel?{urlencode(query)} HTTP/1.1\r\nHost: {machine.ip}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: guacamole\r\n\r\n"
    )
    plain = socket.create_connection((machine.ip, 443), timeout=120)
    with _context().wrap_socket(plain) as connection:
        connection.sendall(request.encode())
        yield connection


def _until(connection: ssl.SSLSocket, *words: bytes) -> bytes:
    """What it sends, up to the first of the words."""
    data = b""
    while not any(word in data for word in words):
        part = connection.recv(65536)
        assert part, data[-500:]
        data += part
    return data


def test_the_derived_credentials_open_a_stream_that_draws(machine: DesktopContainer) -> None:
    answer = _login(machine, _document(machines.CREDENTIALS.vnc_password))
    assert answer.status_code == 200, answer.text
    with _tunnel(machine, answer.json()["authToken"]) as connection:
        data = _until(connection, b"3.img,", b"5.error,")
    assert data.startswith(b"HTTP/1.1 101 ")
    assert b"4.size," in data
    assert b"5.error," not in data


def test_a_wrong_password_ends_the_stream(machine: DesktopContainer) -> None:
    answer = _login(machine, _document(machines.CREDENTIALS.vnc_password[::-1]))
    with _tunnel(machine, answer.json()["authToken"]) as connection:
        data = _until(connection, b"3.img,", b"5.error,")
    assert b"5.error," in data
    assert b"3.519;" in data[data.index(b"5.error,") :]


def test_another_key_or_a_second_use_is_refused(machine: DesktopContainer) -> None:
    data = _document(machines.CREDENTIALS.vnc_password)
    assert _login(machine, data).status_code == 200
    for _ in range(2):
        assert _login(machine, data).status_code == 403
    plain = json.dumps({"username": "x", "expires": 4e12, "connections": {}}).encode()
    assert _login(machine, seal(plain, b"another-key-of16")).status_code == 403
    assert _login(machine, _document(machines.CREDENTIALS.vnc_password)).status_code == 200


def test_guacd_and_guacamole_listen_on_the_loopback_alone(machine: DesktopContainer) -> None:
    listening = machine.run("ss", "-Hltn")
    for port in (4822, 5901, 8080):
        places = {
            line.split()[3]
            for line in listening.splitlines()
            if line.split()[3].endswith(f":{port}")
        }
        assert places <= {f"127.0.0.1:{port}", f"[::ffff:127.0.0.1]:{port}"}
        assert places
