"""Requests to a provider: bounded in time as a whole, to an address that is one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from dispatcher.errors import Misconfigured
from dispatcher.provision.http import HttpClient, check_url
from dispatcher.provision.provider import ProviderBusy, ProviderUnclear


def client(url: str, *, total_s: float = 60.0) -> HttpClient:
    return HttpClient(
        url, name="Cloud", headers={}, busy=ProviderBusy, unclear=ProviderUnclear, total_s=total_s
    )


@contextmanager
def dripping(*answers: bytes) -> Iterator[str]:
    """A server that sends an answer to each connection, a byte at a time."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(5)

    def serve() -> None:
        for answer in answers:
            with suppress(OSError), server.accept()[0] as connection:
                connection.recv(65536)
                for byte in answer:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.01)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        thread.join()
        server.close()


HEAD, BODY = b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("slow", [HEAD + b"X: x\r\n" * 20 + BODY, HEAD + b"\r\n" + b" " * 120])
def test_a_provider_that_answers_a_byte_at_a_time_is_not_waited_for(slow: bytes) -> None:
    with dripping(slow, HEAD + BODY) as url:
        with pytest.raises(ProviderUnclear, match="did not answer a question: no answer in time"):
            client(url, total_s=0.3).send("GET", "/", what="a question")
        assert client(url).send("GET", "/", what="a question").text == b"{}"


def test_a_client_is_not_made_for_what_is_no_address() -> None:
    with pytest.raises(Misconfigured, match=r"the address of Cloud's API: 'https://a\.\.b' is not"):
        client("https://a..b")


@pytest.mark.parametrize(
    "url", ["https://x", "http://[::1]:80", "https://a-b.c_d.example:8443/v2/", "http://10.0.0.1"]
)
def test_what_is_an_address(url: str) -> None:
    assert check_url(url) == url
    client(url)
