"""A provider that answers a creation with lies, or with what was sent to it: what is deleted, used and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.desktop.cloud import CloudBusy, CloudRefused, CloudUnclear, Order
from dispatcher.desktop.create import Creation, NoDesktop, Wanted
from dispatcher.desktop.destroy import Removal, StillThere
from dispatcher.desktop.digitalocean import Connection, DigitalOcean
from dispatcher.desktop.machine import user_data
from dispatcher.errors import DisintoError
from tests.servers.cloud import TOKEN, FakeCloud, Fault
from tests.support.desktops import FINGERPRINT, TAGS, Desktops, FakeClock, FakeMachine, Recorder
from tests.support.machines import machine

RUN = f"one.{'0' * 40}"
SENT = user_data(machine())
FLAT = "".join(c for c in SENT if c.isalnum())
ORDER = Order(
    name="one", region="sfo3", size="s", image="i", tags=TAGS.for_run("one", RUN), user_data=SENT
)


class Provider:
    """Answers by a function of each request; keeps what is to be deleted."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.answer = answer
        self.deleted: list[str] = []

    def adapter(self) -> DigitalOcean:
        transport = httpx.MockTransport(self._handle)
        return DigitalOcean(Connection(TOKEN, transport=transport), now=lambda: 1000.0)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            self.deleted.append(request.url.path)
        return self.answer(request)


def described(number: int, *tags: str) -> dict[str, Any]:
    public = {"v4": [{"ip_address": "198.51.100.7", "type": "public"}]}
    return {
        "id": number, "name": "x", "status": "active", "tags": list(tags), "networks": public,
        "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def created(cloud: DigitalOcean) -> tuple[Recorder, DisintoError]:
    """What a creation reported and raised, with a machine that never answers."""
    clock, recorder = FakeClock(), Recorder()
    wanted = Wanted(
        order=ORDER, run_tag=TAGS.run(RUN), fingerprint=FINGERPRINT, entry={"id": "one"}
    )
    prober = FakeMachine(clock=clock, ready_after_s=None)
    with pytest.raises(DisintoError) as caught:
        Creation(wanted, cloud=cloud, clock=clock, prober=prober, reporter=recorder).run()
    return recorder, caught.value


def listing(request: httpx.Request, *droplets: dict[str, Any]) -> httpx.Response | None:
    if "tag_name" not in str(request.url):
        return None
    return httpx.Response(200, json={"droplets": droplets, "meta": {"total": len(droplets)}})


@pytest.mark.parametrize("tags", [(), ("somebody:else",), (TAGS.all, TAGS.desktop("one"))])
def test_somebodys_machine_in_the_answer_is_neither_used_nor_deleted(tags: tuple[str, ...]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(204)
        status = 202 if request.method == "POST" else 200
        return listing(request) or httpx.Response(status, json={"droplet": described(8, *tags)})

    provider = Provider(answer)
    recorder, error = created(provider.adapter())
    assert provider.deleted == []
    assert not any("198.51.100.7" in line for line in recorder.said)
    assert "see at DigitalOcean whether droplet 8 is yours" in str(error)


def test_a_machine_that_loses_its_tag_is_left_alone_and_named() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"droplet": described(8, *ORDER.tags)})
        return listing(request) or httpx.Response(200, json={"droplet": described(8, "other")})

    provider = Provider(answer)
    recorder, error = created(provider.adapter())
    assert provider.deleted == []
    assert not any("198.51.100.7" in line for line in recorder.said)  # nor is it used
    assert isinstance(error, StillThere)
    assert "droplet 8 does not carry the tag" in str(error)


def test_a_named_machine_is_deleted_once_it_carries_the_tag() -> None:
    tag, looks = TAGS.run(RUN), []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(204)
        if found := listing(request):
            return found
        looks.append(request)
        return httpx.Response(
            200, json={"droplet": described(8, *([tag] if len(looks) > 2 else []))}
        )

    provider = Provider(answer)
    removal = Removal(provider.adapter(), FakeClock(), Recorder(), tag=tag, droplet_ids=[8])
    removal.run()
    assert (provider.deleted, removal.removed) == (["/v2/droplets/8"], [8])


class Maker:
    """Makes the machine, whatever it answers to its creation."""

    def __init__(self, status: int) -> None:
        self.status, self.requests, self.billed = status, 0, False
        self.cloud = Provider(self._answer).adapter()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        made = described(8, *ORDER.tags)
        if request.method == "POST":
            self.requests, self.billed = self.requests + 1, True
            away = {"location": "https://elsewhere.example/"}
            return httpx.Response(self.status, json={"droplet": made}, headers=away)
        if request.method == "DELETE":
            self.billed = False
            return httpx.Response(204)
        listed = listing(request, *([made] if self.billed else []))
        if listed is not None:
            return listed
        return httpx.Response(200 if self.billed else 404, json={"droplet": made})


@pytest.mark.parametrize(
    "status", [200, 201, 204, 303, 307, 402, 405, 408, 409, 413, 425, 451, 499, 500]
)
def test_a_status_that_is_no_refusal_does_not_prove_that_nothing_was_made(status: int) -> None:
    maker = Maker(status)
    recorder, error = created(maker.cloud)
    assert isinstance(error, NoDesktop)  # the machine was found by its tag, and never answered
    assert maker.requests == 1
    assert not maker.billed
    assert recorder.left is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_status_that_refuses_ends_it_at_once(status: int) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return listing(request) or httpx.Response(status, json={"message": "no"})

    with pytest.raises(CloudRefused):
        Provider(answer).adapter().create(ORDER)


@pytest.mark.parametrize("fault", [None, Fault.LOST_AFTER])
def test_tags_that_are_set_late_are_waited_for(fault: Fault | None) -> None:
    desktops = Desktops(FakeCloud(active_after_s=12.0, ip_after_s=20.0, tagged_after_s=45.0))
    desktops.cloud.faults["POST"] = [fault]
    desktops.create("one")
    assert desktops.billed == desktops.entered
    assert desktops.cloud.created == 1
    desktops.destroy("one")
    assert desktops.billed == set()


# -- what was sent -------------------------------------------------------------------------


def trouble(call: Callable[[], Any]) -> str:
    """What a call fails with; "" if it does not."""
    try:
        call()
    except (CloudBusy, CloudRefused, CloudUnclear) as error:
        return str(error)
    return ""


def quoted(text: str) -> list[str]:
    """Each piece of the user data in a text."""
    flat = "".join(c for c in text if c.isalnum())
    return [flat[at : at + 16] for at in range(len(flat) - 15) if flat[at : at + 16] in FLAT]


AT = st.integers(0, 6000 - 200)
STATUS = st.sampled_from([200, 202, 204, 302, 400, 401, 403, 404, 422, 429, 500, 503])


@given(
    AT,
    st.integers(20, 200),
    STATUS,
    st.sampled_from(["create", "get", "tagged", "delete", "newest_ubuntu"]),
)
@settings(max_examples=50)
def test_no_error_quotes_the_user_data(at: int, length: int, status: int, call: str) -> None:
    piece = SENT[at : at + length]
    host = "".join(c for c in piece if c.isascii() and c.isalnum())[:60]
    body = {
        "message": f"near {piece}",
        "id": piece,
        "droplet": {"id": 7, "name": piece},
        "droplets": piece,
    }
    headers = {
        "location": f"https://{host}.example/{host}",
        "retry-after": host,
        "ratelimit-limit": host,
    }

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=headers, json=body)

    cloud = Provider(answer).adapter()
    order = replace(ORDER, user_data=SENT[:6000])
    calls: dict[str, Callable[[], Any]] = {
        "create": lambda: None, "get": lambda: cloud.get(7), "tagged": lambda: cloud.tagged(ORDER.tags[0]),
        "delete": lambda: cloud.delete(7), "newest_ubuntu": lambda: cloud.newest_ubuntu("sfo3"),
    }  # fmt: skip
    texts = [trouble(lambda: cloud.create(order)), trouble(calls[call])]
    assert texts[0]
    assert not [text for text in texts if quoted(text)]


def test_a_server_error_that_quotes_the_user_data_is_not_logged() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)["user_data"] if request.method == "POST" else SENT
        return listing(request) or httpx.Response(500, json={"message": f"near {sent[900:1100]}"})

    recorder, error = created(Provider(answer).adapter())
    assert any("500: its words are not shown" in line for line in recorder.said)
    assert not [line for line in (*recorder.said, str(error)) if quoted(line)]
