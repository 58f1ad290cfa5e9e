"""Two ``serve`` on one machine want one address: the second opens it when it leads."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from dispatcher.errors import Misconfigured
from dispatcher.listener.deferred import DeferredListener
from dispatcher.listener.exchange import Receive, Scope, Send
from dispatcher.listener.serving import Listener


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def door_to(port: int, given_up: list[bool]) -> DeferredListener:
    return DeferredListener(
        lambda: Listener(hello, listen=f"127.0.0.1:{port}"),
        give_up=lambda: given_up.append(True),
    )


def test_it_opens_when_the_address_is_free_and_this_one_leads(taken: socket.socket) -> None:
    port, given_up = taken.getsockname()[1], []
    with door_to(port, given_up) as door:
        door.event("waiting_for_lead", holder="other")
        taken.close()
        door.event("leading", process="me")
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "hello"
    assert given_up == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")


def test_an_address_that_stays_taken_ends_the_service(taken: socket.socket) -> None:
    given_up: list[bool] = []
    with door_to(taken.getsockname()[1], given_up) as door:
        door.event("leading", process="me")
        assert given_up == [True]
        assert "Address already in use" in str(door.error)


def test_wrong_settings_are_told_at_once() -> None:
    with (
        pytest.raises(Misconfigured),
        DeferredListener(lambda: Listener(hello, listen="nonsense"), give_up=lambda: None),
    ):
        pass


def test_a_door_that_nobody_wanted_stays_shut() -> None:
    door = DeferredListener(lambda: pytest.fail("opened"), give_up=lambda: None)
    door.event("leading", process="me")
