"""Clients of the page's event streams: many that listen, and many that never read."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from dispatcher.page.streams import BUSY_RETRY_MS

READ_BYTES = 65_536
SMALL_BYTES = 4_096
"""Room that one that never reads leaves for what is sent to it."""

CONNECT_S = 30.0

_ESTABLISHED = "01"
"""State of a connection in ``/proc/net/tcp``."""


def _connected(address: tuple[str, int], path: str, cookie: str, *, room: int = 0) -> socket.socket:
    """A connection on which a stream was asked for."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if room:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.settimeout(CONNECT_S)
    connection.connect(address)
    host, port = address
    head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n"
    connection.sendall(f"{head}Cookie: {cookie}\r\n\r\n".encode())
    return connection


@dataclass(kw_only=True)
class _Stream:
    """What one has heard: the time of each version, by its id, since the last ``forget``."""

    rest: bytes = b""
    heard: dict[str, float] = field(default_factory=dict)
    events: int = 0


class Listeners:
    """Streams of ``/events`` that read at once. Use as a context manager.

    Args:
        count: how many.
    """

    def __init__(self, address: tuple[str, int], cookie: str, count: int) -> None:
        self._address, self._cookie, self._count = address, cookie, count
        self._news = threading.Condition()
        self._streams: dict[socket.socket, _Stream] = {}
        self._order: list[str] = []
        self._last = time.monotonic()
        self._ended = False
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.lost = 0

    def __enter__(self) -> Listeners:
        for _ in range(self._count):
            connection = _connected(self._address, "/events", self._cookie)
            connection.settimeout(0)
            self._streams[connection] = _Stream()
            self._selector.register(connection, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ended = True
        self._thread.join()
        self._selector.close()
        for connection in self._streams:
            connection.close()

    def ready(self, timeout_s: float) -> None:
        """Wait until each has heard something.

        Raises:
            TimeoutError: one has not, in this time.
        """
        self._wait(lambda: all(each.events for each in self._streams.values()), timeout_s)

    def forget(self) -> None:
        """Begin anew with what was heard."""
        with self._news:
            self._order.clear()
            for stream in self._streams.values():
                stream.heard.clear()

    def next(self, known: str, timeout_s: float) -> str:
        """Wait until any has heard a version after ``known``, or any if that is ""; the newest one.

        Raises:
            TimeoutError: none has, in this time.
        """
        self._wait(lambda: bool(self._order) and self._order[-1] != known, timeout_s)
        return self._order[-1]

    def all_heard(self, version: str, timeout_s: float) -> float:
        """Wait until each has heard this version or a later one; when the last did, monotonic.

        Raises:
            TimeoutError: one has not, in this time.
        """
        self._wait(lambda: None not in self._times(version), timeout_s)
        with self._news:
            return max(at for at in self._times(version) if at is not None)

    def quiet(self, seconds: float) -> None:
        """Wait until nothing was heard for so long."""
        while time.monotonic() - self._last < seconds:
            time.sleep(seconds / 10)

    def _times(self, version: str) -> list[float | None]:
        enough = set(self._order[self._order.index(version) :])
        return [
            min((at for known, at in stream.heard.items() if known in enough), default=None)
            for stream in self._streams.values()
        ]

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        with self._news:
            if not self._news.wait_for(condition, timeout_s):
                raise TimeoutError(
                    f"{self._count} streams, {self.lost} of them lost: not all heard"
                )

    def _read(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(timeout=0.2):
                self._take(key.fileobj)  # type: ignore[arg-type]

    def _take(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = connection.recv(READ_BYTES)
        with self._news:
            stream = self._streams[connection]
            if not data:
                self._selector.unregister(connection)
                self.lost += 1
                return
            *lines, stream.rest = (stream.rest + data).split(b"\n")
            for line in lines:
                if line.startswith(b"id: "):
                    self._heard(stream, line.removeprefix(b"id: ").strip().decode())
            self._news.notify_all()

    def _heard(self, stream: _Stream, version: str) -> None:
        self._last = time.monotonic()
        if version not in self._order:
            self._order.append(version)
        stream.heard.setdefault(version, self._last)
        stream.events += 1


@dataclass(kw_only=True)
class Silent:
    """Streams that never read.

    Attributes:
        port: of the page.
        connections: those that could be opened.
    """

    port: int
    connections: list[socket.socket] = field(default_factory=list)

    @classmethod
    def opened(cls, address: tuple[str, int], path: str, cookie: str, count: int) -> Silent:
        """Ask for so many."""
        made = cls(port=address[1])
        for _ in range(count):
            with contextlib.suppress(OSError):
                made.connections.append(_connected(address, path, cookie, room=SMALL_BYTES))
        return made

    def ends(self) -> Counter[str]:
        """How each stands now: ``refused``, ``dropped`` or ``open``; and how many were ``told`` when to come
        back. What was sent first is looked at, and stays unread. Whether it is open is what the server's end
        says: a reset does not always get past a window that is closed.
        """
        counted: Counter[str] = Counter()
        held = _held()
        for connection in self.connections:
            connection.settimeout(0)
            first = b""
            with contextlib.suppress(OSError):
                first = connection.recv(SMALL_BYTES, socket.MSG_PEEK)
            busy = f"retry: {BUSY_RETRY_MS}".encode() in first
            open_there = (self.port, connection.getsockname()[1]) in held
            counted["refused" if busy else "open" if open_there else "dropped"] += 1
            counted["told"] += b"retry: " in first
        return counted

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


def _held() -> set[tuple[int, int]]:
    """Ports of each established connection on this machine, from either end."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split()[1:4] for line in lines]
    return {
        (int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16))
        for local, remote, state in fields
        if state == _ESTABLISHED
    }
