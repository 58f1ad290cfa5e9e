"""Health URLs of services that misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from dispatcher.release import health


@pytest.fixture
def dribbling() -> Iterator[str]:
    """A server that begins an answer and sends a byte of it now and then."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not over.wait(0.05):
                    client.sendall(b"x")

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        over.set()
        serving.join(10)


def test_an_answer_byte_by_byte_does_not_hold_up_a_deploy(
    dribbling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_WHOLE_ANSWER_S", 0.5)
    assert health.get(dribbling) == f"{dribbling}: no whole answer within 0.5 s"
