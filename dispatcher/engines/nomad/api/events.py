"""The event stream: hints that something changed, with reconnecting done here.

Facts (Nomad 2.0.5). Heartbeats ``{}`` come on connecting and every 30 s. The server keeps about 100
events; a stream that asks for an older index begins at the next one without saying so, and one that
asks for an index to come begins with the last event. A denial is status 200, no heartbeat, and an
end after some time (22 to 48 s were seen). So the stream may hide a gap, and its reader lists
again after each ``Resync``; and a stream without its first heartbeat is verified by a call that
needs the same permission.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from dispatcher.engines.nomad.api.connection import Connection
from dispatcher.errors import TemporaryError
from dispatcher.model.backoff import backoff_s

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 15.0
FIRST_HEARTBEAT_S = 5.0
"""Seconds after which a stream without its first heartbeat is abandoned."""

_NO_REPLAY = 2**53
"""An index in the future: begin with the next event."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event.

    Attributes:
        topic, type: such as ``Allocation`` and ``AllocationUpdated``.
        key: the ID of what changed.
        filter_keys: for allocations and evaluations the ID of their job, and more.
        index: raft index.
        payload: the changed object, e.g. ``{"Allocation": {…}}``; an allocation comes without its
            job.
    """

    topic: str
    type: str
    key: str
    filter_keys: tuple[str, ...]
    index: int
    payload: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resync:
    """The stream is (re)connected, and may have missed events before: list now."""


class EventStream:
    """Iterate it in a thread of its own; ``close`` from another one ends the iteration.

    Attributes:
        connected: True while the server is known to be connected.

    Raises (while iterating):
        Denied: the token lacks ``read-job`` in the namespace (``node:read`` for nodes).
        Rejected: a topic is not in Nomad's syntax.
    """

    def __init__(self, connection: Connection, topics: Collection[str]) -> None:
        self._connection = connection
        self._topics = list(topics)
        self._next_index = _NO_REPLAY
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._answered = False
        self.connected = False

    def close(self) -> None:
        """End the iteration, also one that waits for an event."""
        self._closed.set()
        self._hang_up()

    def __iter__(self) -> Iterator[Event | Resync]:
        attempt = 0
        while not self._closed.is_set():
            came = self._answered = False
            try:
                for item in self._one_connection():
                    if self._closed.is_set():
                        return
                    came = True
                    yield item
            except TemporaryError:
                pass  # any other call to Nomad reports it
            finally:
                self.connected = False
            if self._answered and not came and not self._closed.is_set():
                with contextlib.suppress(TemporaryError):
                    self._check_rights()
            attempt = 0 if came else attempt + 1
            self._closed.wait(_pause(attempt))

    def _one_connection(self) -> Iterator[Event | Resync]:
        params = {"topic": self._topics, "index": self._next_index}
        with self._connection.stream(
            "event/stream", endpoint="event.stream", doing="follow events", params=params
        ) as response:
            with self._lock:
                if self._closed.is_set():
                    return
                self._socket = _socket_of(response)
            self._answered = True
            impatient = threading.Timer(FIRST_HEARTBEAT_S, self._hang_up)
            impatient.daemon = True
            impatient.start()
            try:
                for line in response.iter_lines():
                    if line.strip():
                        impatient.cancel()
                        yield from self._items(line)
            finally:
                impatient.cancel()
                with self._lock:
                    self._socket = None

    def _hang_up(self) -> None:
        with self._lock:
            if self._socket is not None:
                # Closing alone would not wake a reading thread.
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _items(self, line: str) -> Iterator[Event | Resync]:
        if not self.connected:
            self.connected = True
            yield Resync()
        try:
            batch = json.loads(line)
        except ValueError:  # cut off at the end of a connection
            return
        if index := batch.get("Index", 0):  # 0 in a heartbeat
            self._next_index = index + 1
        for event in batch.get("Events") or []:
            yield Event(
                topic=event.get("Topic", ""),
                type=event.get("Type", ""),
                key=event.get("Key", ""),
                filter_keys=tuple(event.get("FilterKeys") or ()),
                index=event.get("Index", index),
                payload=event.get("Payload") or {},
            )

    def _check_rights(self) -> None:
        """Raise ``Denied`` if the token lacks the permissions for these topics."""
        nodes = any(topic.startswith("Node") for topic in self._topics)
        for path in ("allocations", *(("nodes",) if nodes else ())):
            self._connection.request(
                "GET",
                path,
                endpoint="event.rights",
                doing="follow events",
                params={"per_page": 1},
            )


def _pause(attempt: int) -> float:
    ceiling = backoff_s(FIRST_PAUSE_S, LONGEST_PAUSE_S, attempt + 1)
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def _socket_of(response: httpx.Response) -> socket.socket | None:
    wire = response.extensions.get("network_stream")
    raw = wire.get_extra_info("socket") if wire is not None else None
    return raw if isinstance(raw, socket.socket) else None
