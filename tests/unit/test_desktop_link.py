"""The link to a desktop: once, in time, and for whoever has it."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

import httpx
import pytest

from dispatcher.errors import Misconfigured
from dispatcher.operate.desktop_link import serve_link

TARGET = "https://198.51.100.7/guacamole/#/client/ZGVza3RvcABjAGpzb24?token=T0KEN"


def test_it_leads_there_once() -> None:
    with serve_link(TARGET) as link:
        assert urlsplit(link.url).hostname == "127.0.0.1"
        first = httpx.get(link.url)
        assert (first.status_code, first.headers["Location"]) == (302, TARGET)
        assert first.headers["Cache-Control"] == "no-store"
        assert first.headers["Referrer-Policy"] == "no-referrer"
        assert link.wait(5)
        again = httpx.get(link.url)
        assert again.status_code == 410
        assert "Location" not in again.headers
        assert "disinto desktop open" in again.text


def test_of_many_at_once_one_is_led_there() -> None:
    with serve_link(TARGET) as link:
        codes: list[int] = []
        threads = [
            threading.Thread(target=lambda: codes.append(httpx.get(link.url).status_code))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(codes) == [302, *[410] * 7]


def test_without_the_link_nothing_is_to_be_had() -> None:
    with serve_link(TARGET) as link:
        base = f"http://127.0.0.1:{link.port}"
        for path in ("/", "/x", urlsplit(link.url).path[:-1], urlsplit(link.url).path + "?a=1"):
            answer = httpx.get(base + path)
            assert (answer.status_code, "not the link" in answer.text) == (404, True)
        assert httpx.post(link.url).status_code == 501
        assert httpx.get(link.url, headers={"Host": "evil.example"}).status_code == 421
        assert httpx.get(link.url, headers={"Sec-Purpose": "prefetch"}).status_code == 503
        assert httpx.get(link.url).status_code == 302, "none of these used it up"


def test_after_its_time_it_leads_nowhere() -> None:
    with serve_link(TARGET) as link:
        assert not link.wait(0.01)
        assert httpx.get(link.url).status_code == 410


def test_no_two_links_are_alike() -> None:
    paths = set()
    for _ in range(3):
        with serve_link(TARGET) as link:
            paths.add(urlsplit(link.url).path)
    assert len(paths) == 3
    assert min(map(len, paths)) > 40


def test_a_client_that_says_nothing_holds_up_nobody() -> None:
    with serve_link(TARGET) as link, socket.create_connection(("127.0.0.1", link.port)):
        assert httpx.get(link.url).status_code == 302


def test_a_port_that_is_taken_is_named() -> None:
    with (
        serve_link(TARGET) as link,
        pytest.raises(Misconfigured, match=str(link.port)),
        serve_link(TARGET, port=link.port),
    ):
        pytest.fail("two links on one port")


def test_a_given_port_is_used() -> None:
    from dispatcher.devservers.ports import free_port

    port = free_port()
    with serve_link(TARGET, port=port) as link:
        assert urlsplit(link.url).port == port
