"""What a crowd costs the page: streams that nobody reads, half-sent heads, and forms that are too large."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import tenacity

from dispatcher.page.answers import Answer, Data, Events, Redirect
from dispatcher.page.app import build_app
from dispatcher.page.routing import Page
from dispatcher.page.serving import listening, server
from dispatcher.page.site import Site
from dispatcher.page.streams import ABORT, BUSY_RETRY_MS, Streams
from dispatcher.page.visit import BODY_LIMIT, Visit
from tests.support.page_client import a_site

PIECE = b"data: " + b"x" * 64 * 1024 + b"\n\n"

patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.05), reraise=True
)


async def _flood() -> AsyncIterator[bytes]:
    while True:
        yield PIECE
        await asyncio.sleep(0)


unsent: list[int] = []
"""What the page still had of a stream, in bytes, each time that its next event was made."""


async def _weighed_flood(transport: asyncio.Transport) -> AsyncIterator[bytes]:
    async for piece in _flood():
        unsent.append(transport.get_write_buffer_size())
        yield piece


def _weigh(visit: Visit) -> Answer:
    abort = visit.request.scope["extensions"][ABORT]
    return Events(source=_weighed_flood(abort.__self__))


def _answer(_visit: Visit) -> Answer:
    return Data(data={"here": True})


def _take(_visit: Visit) -> Answer:
    return Redirect(path="/small", data={})


PAGES = (
    Page(path="/flood", name="flood", handler=lambda _v: Events(source=_flood()), summary="",
         public=True, stream=True),
    Page(path="/weighed", name="weighed", handler=_weigh, summary="", public=True, stream=True),
    Page(path="/small", name="small", handler=_answer, summary="", public=True),
    Page(path="/take", name="take", handler=_take, method="POST", summary="", public=True),
)  # fmt: skip


@contextmanager
def _served(tmp_path: Path, streams: Streams) -> Iterator[tuple[Site, str]]:
    opened = listening(0)
    origin = f"http://127.0.0.1:{opened.getsockname()[1]}"
    site = a_site(tmp_path, origin=origin)
    site.streams = streams
    running = server(build_app(site, PAGES))
    thread = threading.Thread(target=running.run, args=([opened],))
    thread.start()
    try:
        yield site, origin
    finally:
        running.should_exit = True
        thread.join(30)
        opened.close()


def _ask(origin: str, path: str) -> socket.socket:
    """A connection that has sent a request, and reads nothing by itself."""
    host = origin.removeprefix("http://")
    asking = socket.socket()
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    asking.settimeout(30)
    asking.connect(("127.0.0.1", int(host.rpartition(":")[2])))
    asking.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return asking


def _check_crowd(tmp_path: Path, *, count: int, most: int) -> None:
    """So many streams that never read: some are open and then dropped, the others are sent away."""
    with _served(tmp_path, Streams(most=most, send_s=1.0)) as (site, origin):
        with contextlib.ExitStack() as crowd, httpx.Client(base_url=origin, timeout=30) as reader:
            highest = 0
            for _ in range(count):
                crowd.enter_context(_ask(origin, "/flood"))
                highest = max(highest, site.streams.open)
            assert reader.get("/small").json() == {"here": True}
            assert highest <= most

            @patiently
            def all_dropped() -> None:
                assert site.streams.open == 0

            all_dropped()
        assert site.streams.open == 0


def test_streams_that_never_read_are_dropped_and_the_page_answers(tmp_path: Path) -> None:
    _check_crowd(tmp_path, count=30, most=20)


def test_of_a_stream_that_is_not_read_one_event_is_kept(tmp_path: Path) -> None:
    unsent.clear()
    with (
        _served(tmp_path, Streams(send_s=0.5)) as (site, origin),
        _ask(origin, "/weighed"),
        httpx.Client(base_url=origin, timeout=30) as reader,
    ):

        @patiently
        def dropped() -> None:
            assert unsent
            assert site.streams.open == 0

        dropped()
        assert reader.get("/small").json() == {"here": True}
    framed = len(PIECE) + 20
    assert 0 < max(unsent) <= framed


def test_one_stream_too_many_is_told_when_to_come_back(tmp_path: Path) -> None:
    with _served(tmp_path, Streams(most=0)) as (_site, origin), _ask(origin, "/flood") as asking:
        got = b""
        while f"retry: {BUSY_RETRY_MS}".encode() not in got:
            piece = asking.recv(4_096)
            assert piece, got
            got += piece


def test_a_form_of_10_mb_is_refused_before_it_has_arrived(tmp_path: Path) -> None:
    with _served(tmp_path, Streams()) as (_site, origin), httpx.Client(timeout=30) as client:
        length = {"Content-Length": str(10 * 1024 * 1024), "Content-Type": "text/plain"}
        host, port = "127.0.0.1", int(origin.rpartition(":")[2])
        head = "".join(f"{name}: {value}\r\n" for name, value in length.items())
        with socket.create_connection((host, port), timeout=30) as sending:
            request = f"POST /take HTTP/1.1\r\nHost: {host}:{port}\r\n{head}\r\n"
            sending.sendall(request.encode())
            assert sending.recv(4_096).startswith(b"HTTP/1.1 413")

        def endless() -> Iterator[bytes]:
            for _ in range(BODY_LIMIT // 65_536 + 20):
                yield b"x" * 65_536

        with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            assert client.post(f"{origin}/take", content=endless()).status_code == 413
        assert client.get(f"{origin}/small").status_code == 200
