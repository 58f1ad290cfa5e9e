"""The adapter of DigitalOcean: what it sends, what it makes of each answer, in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dispatcher.desktop.cloud import CloudBusy, CloudRefused, CloudUnclear, Order
from dispatcher.desktop.digitalocean import Connection, DigitalOcean
from dispatcher.errors import DisintoError, Misconfigured
from tests.servers.cloud import TOKEN, FakeCloud
from tests.servers.cloud_connection import serving

SECRET = "user-data-with-a-password"
ORDER = Order(
    name="one", region="sfo3", size="s-2vcpu-4gb", image="ubuntu-24-04-x64", tags=("a:b",),
    ssh_keys=("3b:16:e4", "289794"), user_data=SECRET,
)  # fmt: skip


def adapter(handle: Callable[[httpx.Request], httpx.Response]) -> DigitalOcean:
    connection = Connection(TOKEN, transport=httpx.MockTransport(handle))
    return DigitalOcean(connection, now=lambda: 1000.0)


def answering(status: int, body: Any = None, **headers: str) -> DigitalOcean:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return adapter(lambda _: httpx.Response(status, json=body, headers=named))


def refused(cloud: DigitalOcean) -> str:
    with pytest.raises(CloudRefused) as caught:
        cloud.create(ORDER)
    assert TOKEN not in str(caught.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_what_is_sent() -> None:
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(401, json={})

    with pytest.raises(CloudRefused):
        adapter(handle).create(ORDER)
    (request,) = requests
    assert (request.method, request.url) == ("POST", "https://api.digitalocean.com/v2/droplets")
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert json.loads(request.content) == {
        "name": "one", "region": "sfo3", "size": "s-2vcpu-4gb", "image": "ubuntu-24-04-x64",
        "tags": ["a:b"], "ssh_keys": ["3b:16:e4", 289794], "user_data": SECRET, "monitoring": False,
    }  # fmt: skip


def test_a_rejected_token() -> None:
    text = refused(answering(401, {"id": "unauthorized", "message": "Unable to authenticate you"}))
    assert "rejected the API token (401)" in text
    assert "disinto secrets put DIGITALOCEAN_API_TOKEN" in text


def test_a_token_without_the_scope() -> None:
    text = refused(answering(403, {"id": "forbidden", "message": "You are not authorized"}))
    assert "may not create a s-2vcpu-4gb in sfo3 (403): You are not authorized" in text
    assert "droplet:create" in text


def test_the_quota_is_named() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v2/account":
            return httpx.Response(200, json={"account": {"droplet_limit": 3}})
        message = "creating this/these droplet(s) will exceed your droplet limit"
        return httpx.Response(422, json={"id": "unprocessable_entity", "message": message})

    assert "droplet limit of 3 is reached" in refused(adapter(handle))


def test_a_region_that_is_full() -> None:
    message = "Region is not available\x1b[2J"
    text = refused(answering(422, {"id": "unprocessable_entity", "message": message}))
    assert "(422): Region is not available [2J. Choose a region" in text


def test_rejected_user_data_is_not_quoted() -> None:
    text = refused(answering(422, {"message": f"User data is invalid: {SECRET}"}))
    assert "rejected the user data" in text


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry_after": "7"}, 7.0), ({"ratelimit_reset": "1030"}, 30.0), ({"ratelimit_reset": "5"}, 1.0),
     ({"retry_after": "soon"}, None), ({"retry_after": "99999999"}, 3600.0), ({}, None)],
)  # fmt: skip
def test_a_rate_limit_says_how_long(headers: dict[str, str], seconds: float | None) -> None:
    with pytest.raises(CloudBusy, match="rate limit is reached: slow down") as caught:
        answering(429, {"message": "slow down"}, **headers).create(ORDER)
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    ("headers", "left"),
    [({"ratelimit_limit": "5000", "ratelimit_remaining": "1000"}, 0.2),
     ({"ratelimit_limit": "5000", "ratelimit_remaining": "9999"}, 1.0),
     ({"ratelimit_limit": "0", "ratelimit_remaining": "1"}, None),
     ({"ratelimit_limit": "x", "ratelimit_remaining": "-1"}, None), ({}, None)],
)  # fmt: skip
def test_each_answer_says_what_is_left_of_the_hour(
    headers: dict[str, str], left: float | None
) -> None:
    cloud = answering(404, {"message": "not found"}, **headers)
    assert cloud.requests_left is None
    assert cloud.get(1) is None
    assert cloud.requests_left == left


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_proves_nothing(status: int) -> None:
    with pytest.raises(CloudUnclear, match=str(status)):
        answering(status, {"message": "oops"}).create(ORDER)


@pytest.mark.parametrize("body", [
    None, [], {}, {"droplet": None}, {"droplet": {"id": "x"}},
    {"droplet": {"id": 1, "name": "a", "status": "new", "created_at": "yesterday"}},
    {"droplet": {"id": 1, "name": "a", "status": "new", "created_at": "2026-01-01T00:00:00Z",
                 "networks": {"v4": [{"type": "public", "ip_address": "1.2.3.4/x"}]}}},
])  # fmt: skip
def test_an_accepted_request_whose_answer_cannot_be_read_proves_nothing(body: Any) -> None:
    with pytest.raises(CloudUnclear):
        answering(202, body).create(ORDER)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(httpx.ConnectError, CloudBusy), (httpx.ConnectTimeout, CloudBusy), (httpx.ReadTimeout, CloudUnclear),
     (httpx.WriteTimeout, CloudUnclear), (httpx.ReadError, CloudUnclear), (httpx.RemoteProtocolError, CloudUnclear)],
)  # fmt: skip
def test_what_a_lost_connection_proves(
    error: type[httpx.HTTPError], kind: type[DisintoError]
) -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        raise error("[Errno 104] Connection reset by peer")

    with pytest.raises(kind):
        adapter(handle).create(ORDER)


def test_a_redirect_is_not_followed() -> None:
    cloud = answering(302, None, location="https://evil.example/v2?x=1")
    with pytest.raises(CloudUnclear) as caught:
        cloud.create(ORDER)
    text = str(caught.value)
    assert "redirected POST /v2/droplets to https://evil.example: not followed" in text
    assert TOKEN not in text
    with pytest.raises(CloudRefused, match="redirected GET /v2/droplets/7 to"):
        cloud.get(7)


def test_an_answer_without_end_is_cut() -> None:
    def endless() -> Any:
        while True:
            yield b" " * 2**20

    with pytest.raises(CloudUnclear):
        adapter(lambda _: httpx.Response(200, content=endless())).tagged("a:b")


def test_all_pages_of_a_list_are_read() -> None:
    cloud = FakeCloud(page_limit=2)
    with serving(cloud) as url:
        client = DigitalOcean(Connection(TOKEN, url=url))
        ids = [client.create(ORDER).id for _ in range(5)]
        assert [each.id for each in client.tagged("a:b")] == ids
        assert client.tagged("a:c") == []


def test_a_list_without_a_total_ends_with_an_empty_page() -> None:
    answers = iter([{"images": [{"name": "x"}]}, {"images": []}])
    client = adapter(lambda _: httpx.Response(200, json=next(answers)))
    with pytest.raises(CloudRefused, match="no Ubuntu LTS image in region sfo3"):
        client.newest_ubuntu("sfo3")


def test_a_machine_as_it_comes_up() -> None:
    at = 1_800_000_000.0
    cloud = FakeCloud(now=lambda: at, known_after_s=5, active_after_s=10, ip_after_s=20)
    with serving(cloud) as url:
        client = DigitalOcean(Connection(TOKEN, url=url))
        made = client.create(ORDER)
        assert (made.status, made.ip, made.created_at) == ("new", "", at)
        assert client.get(made.id) is None
        assert client.delete(made.id) is False
        at += 15
        machine = client.get(made.id)
        assert machine is not None
        assert (machine.status, machine.ip) == ("active", "")
        at += 10
        machine = client.get(made.id)
        assert machine is not None
        assert machine.ip == "198.51.100.1"  # the public one of two
        assert client.delete(made.id) is True
        assert client.get(made.id) is None


def test_the_newest_ubuntu_of_a_region() -> None:
    with serving(FakeCloud()) as url:
        client = DigitalOcean(Connection(TOKEN, url=url))
        assert client.newest_ubuntu("sfo3") == "ubuntu-24-04-x64"
        assert client.newest_ubuntu("nyc3") == "ubuntu-26-04-x64"


@pytest.mark.parametrize("token", ["", "  ", "a\nb", "tökén"])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(Misconfigured, match="DIGITALOCEAN_API_TOKEN"):
        Connection(token)


def test_what_is_no_address() -> None:
    with pytest.raises(Misconfigured, match=r"DigitalOcean's API: .* is not an address such as"):
        Connection(TOKEN, url="file:///etc/passwd")
