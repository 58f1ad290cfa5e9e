"""The page on a real socket: requests must arrive in time, streams may last."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher.errors import Misconfigured
from dispatcher.page.answers import Events
from dispatcher.page.app import build_app
from dispatcher.page.routing import Page
from dispatcher.page.serving import listening, server
from tests.support.page_client import a_site


@contextmanager
def served(tmp_path: Path, go_on: threading.Event) -> Iterator[tuple[str, int]]:
    """A page with one stream, of which the second event is sent when ``go_on`` is set."""
    import asyncio

    async def source() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.to_thread(go_on.wait, 30)
        yield b"data: 2\n\n"

    stream = Page(
        path="/stream",
        name="stream",
        handler=lambda _visit: Events(source=source()),
        summary="",
        public=True,
        stream=True,
    )
    opened = listening(0)
    port = opened.getsockname()[1]
    app = build_app(a_site(tmp_path, origin=f"http://127.0.0.1:{port}"), [stream])
    running = server(app, request_s=0.4)
    thread = threading.Thread(target=running.run, args=([opened],))
    thread.start()
    try:
        yield "127.0.0.1", port
    finally:
        go_on.set()
        running.should_exit = True
        thread.join(20)
        opened.close()


def test_half_a_request_is_closed_and_a_stream_lasts(tmp_path: Path) -> None:
    go_on = threading.Event()
    with (
        served(tmp_path, go_on) as address,
        socket.create_connection(address, timeout=20) as lasting,
        socket.create_connection(address, timeout=20) as half,
    ):
        host = f"Host: 127.0.0.1:{address[1]}\r\n"
        lasting.sendall(f"GET /stream HTTP/1.1\r\n{host}\r\n".encode())
        half.sendall(f"GET /stream HTTP/1.1\r\n{host}".encode())
        reading = lasting.makefile("rb")
        wait_for(reading, b"data: 1")
        with contextlib.suppress(ConnectionResetError):
            assert half.recv(100) == b""  # however long that takes, the stream is older
        go_on.set()
        wait_for(reading, b"data: 2")


def wait_for(reading: object, text: bytes) -> None:
    """Read lines until one has this text."""
    assert any(text in line for line in iter(reading.readline, b""))  # type: ignore[attr-defined]


def test_a_port_that_is_taken_is_named() -> None:
    with listening(0) as taken, pytest.raises(Misconfigured, match="cannot be used"):
        listening(taken.getsockname()[1])
