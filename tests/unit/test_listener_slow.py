"""The listener beside clients that are slow on purpose, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import httpx
import pytest

from dispatcher.listener import guard as guard_module
from dispatcher.listener import serving as serving_module
from dispatcher.listener.app import App
from dispatcher.listener.guard import Guard
from dispatcher.listener.hooks import PushHook
from dispatcher.listener.serving import Listener
from dispatcher.model.health import Health
from dispatcher.status.metrics import Metrics
from tests.support.thorough import some

NOW = 1_900_000_000.0
HEADERS = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
BODY = b"POST /hooks/push HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
ONCE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CUT_S = 30.0
"""How long a client waits to be cut off before the test gives up."""


def app() -> App:
    return App(
        health=lambda: Health(leader=True, beat_at=NOW, started_at=NOW),
        metrics=Metrics(),
        wake=lambda: None,
        hook=PushHook(secret=b"a secret of more than sixteen bytes", repository="", branch="main"),
        clock=lambda: NOW,
    )


@contextmanager
def trickling(port: int, count: int, start: bytes) -> Iterator[threading.Semaphore]:
    """So many connections that each send the start of a request, then a byte a little later, for
    as long as they are let. Gives a semaphore that counts the bytes that came through.
    """
    stop, sent = threading.Event(), threading.Semaphore(0)

    def send_on(clients: list[socket.socket]) -> None:
        turn = 0
        while not stop.wait(0.01):
            turn += 1
            for client in clients[turn % 5 :: 5]:
                try:
                    client.send(b"a")
                    sent.release()
                except OSError:  # cut off: come back, as an attacker would
                    client.close()
                    clients[clients.index(client)] = connected(port, start)
        for client in clients:
            client.close()

    clients = [connected(port, start) for _ in range(count)]
    thread = threading.Thread(target=send_on, args=(clients,))
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def connected(port: int, start: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=CUT_S)
    client.sendall(start)
    return client


@pytest.mark.parametrize("start", [HEADERS, BODY], ids=["headers", "body"])
@pytest.mark.parametrize("count", some([70, 1_000], always=[70]))
def test_health_and_metrics_are_answered_beside_trickling_connections(
    count: int, start: bytes
) -> None:
    with (
        Listener(app(), listen="127.0.0.1:0") as listener,
        trickling(listener.port, count, start) as sent,
    ):
        for path in ("/healthz", "/metrics") * 3:
            answer = httpx.get(f"http://127.0.0.1:{listener.port}{path}", timeout=CUT_S)
            assert answer.status_code == 200
            while sent.acquire(blocking=False):
                pass
            assert sent.acquire(timeout=CUT_S)  # they do go on


@pytest.mark.parametrize("limit", ["per address", "in total"])
def test_no_request_is_cut_off_before_the_loop_came_to_read_it(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All have arrived before the loop's first turn, as they do where it is held up."""
    if limit == "per address":
        monkeypatch.setattr(guard_module, "GRACE_S", 0.0)
        monkeypatch.setattr(serving_module, "PER_ADDRESS", 1)
    else:
        monkeypatch.setattr(serving_module, "CONNECTIONS", 100)
    with ExitStack() as clients:
        listener = Listener(app(), listen="127.0.0.1:0")
        waiting = [clients.enter_context(connected(listener.port, ONCE)) for _ in range(120)]
        with listener:
            answers = [_received(client) for client in waiting]
    assert [answer.partition(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * 120


@pytest.mark.parametrize("start", [b"", HEADERS, BODY], ids=["nothing", "headers", "body"])
def test_a_request_has_a_deadline_however_lively_its_connection(start: bytes) -> None:
    with (
        Listener(app(), listen="127.0.0.1:0", request_s=0.5) as listener,
        connected(listener.port, start) as client,
    ):
        cut = threading.Event()
        lively = threading.Thread(target=_send_until, args=(client, cut, bool(start)))
        lively.start()
        try:
            assert _ended(client)
        finally:
            cut.set()
            lively.join()


def test_a_client_that_reads_no_answer_is_cut_off() -> None:
    with (
        Listener(app(), listen="127.0.0.1:0", request_s=0.5) as listener,
        connected(listener.port, b"") as client,
        pytest.raises(ConnectionError),
    ):
        _send_for_ever(client, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)


class Held:
    """Stands for a connection; ``abort`` is noted."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def held(guard: Guard, address: str, count: int) -> list[Held]:
    connections = [Held() for _ in range(count)]
    for connection in connections:
        guard.admit(address, cast(asyncio.Transport, connection))
    return connections


def aborted(connections: list[Held]) -> list[bool]:
    return [connection.aborted for connection in connections]


def matured(guard: Guard, address: str, connections: list[Held]) -> None:
    for connection in connections:
        guard.matured(address, cast(asyncio.Transport, connection))


def test_one_address_keeps_its_newest_connections() -> None:
    guard = Guard(request_s=1, connections=100, per_address=3)
    other = held(guard, "b", 1)
    first = held(guard, "a", 4)
    assert not any(aborted(first))  # all are too young to make room
    matured(guard, "a", first)
    assert aborted(first) == [True, False, False, False]
    second = held(guard, "a", 1)
    guard.answered("a", cast(asyncio.Transport, first[1]))
    assert not any(aborted([*first[1:], *second]))
    matured(guard, "a", [*first, *second])  # those that are gone, or were noted, change nothing
    assert aborted([*first, *second, *other]) == [True, False, True, False, False, False]


def test_where_all_places_are_taken_the_address_with_most_gives_one_up() -> None:
    guard = Guard(request_s=1, connections=4, per_address=3)
    lone, many = held(guard, "b", 1), held(guard, "a", 3)
    late = held(guard, "c", 2)
    assert aborted(many) == [True, True, False]
    assert not any(aborted([*lone, *late]))


def test_a_closed_connection_leaves_its_place() -> None:
    guard = Guard(request_s=1, connections=2, per_address=2)
    first = held(guard, "a", 2)
    for connection in first:
        guard.closed("a", cast(asyncio.Transport, connection))
        guard.closed("a", cast(asyncio.Transport, connection))
    second = held(guard, "b", 2)
    assert not any(aborted([*first, *second]))


def test_trickling_connections_do_not_hold_up_the_end() -> None:
    with Listener(app(), listen="127.0.0.1:0") as listener, ExitStack() as clients:
        for start in (HEADERS, BODY, b""):
            clients.enter_context(connected(listener.port, start))
        assert httpx.get(f"http://127.0.0.1:{listener.port}/healthz").status_code == 200
        listener.__exit__(None, None, None)
        assert not [t for t in threading.enumerate() if t.name == "web"]


def _send_for_ever(client: socket.socket, data: bytes) -> None:
    while True:
        client.sendall(data)


def _send_until(client: socket.socket, stop: threading.Event, lively: bool) -> None:
    while lively and not stop.wait(0.02):
        try:
            client.send(b"a")
        except OSError:
            return


def _ended(client: socket.socket) -> bool:
    """Whether the other side ends the connection without an answer."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def _received(client: socket.socket) -> bytes:
    """All that comes, until the other side ends the connection."""
    received = b""
    try:
        while data := client.recv(4_096):
            received += data
    except ConnectionError:
        pass
    return received
