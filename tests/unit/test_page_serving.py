"""The page on a real socket: requests must arrive in time, streams may last."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tenacity

from dispatcher.errors import Misconfigured
from dispatcher.page.answers import Events
from dispatcher.page.app import build_app
from dispatcher.page.routing import Page
from dispatcher.page.serving import listening, server
from dispatcher.page.site import Site
from dispatcher.page.streams import Streams
from tests.support.page_client import a_site

ROOT = Path(__file__).parents[2]
PIECE = 16 * 1024


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


@tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.02), reraise=True)
def opened_and_dropped(site: Site, sent: Callable[[], int]) -> None:
    """Wait until something was sent, and the stream has ended."""
    assert sent()
    assert site.streams.open == 0


def test_little_is_kept_for_a_reader_that_takes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside what the reader's own kernel takes, which is its choice."""
    sent = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            yield b"x" * PIECE
            sent += PIECE

    stream = Page(
        path="/stream",
        name="stream",
        handler=lambda _visit: Events(source=source()),
        summary="",
        public=True,
        stream=True,
    )
    with listening(0) as opened, socket.socket() as reader:
        port = opened.getsockname()[1]
        site = a_site(tmp_path, origin=f"http://127.0.0.1:{port}")
        site.streams = Streams(send_s=0.3)
        running = server(build_app(site, [stream]))
        thread = threading.Thread(target=running.run, args=([opened],))
        thread.start()
        try:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", port))
            reader.sendall(f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            opened_and_dropped(site, lambda: sent)
        finally:
            running.should_exit = True
            thread.join(20)
    assert 0 < sent < 1024 * 1024, sent
    assert caplog.messages == [], "that is how it is meant to end"


def test_it_may_have_as_many_files_open_as_it_needs() -> None:
    """Systems commonly start a process with a soft limit of 1,024."""
    program = (
        "import resource\n"
        "from dispatcher.page import serving\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "serving.server(lambda: None)\n"
        "soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]\n"
        "assert soft >= min(hard, serving.FILES) or hard == resource.RLIM_INFINITY, soft\n"
        "assert soft > serving.CONNECTIONS or hard <= serving.CONNECTIONS, soft\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
