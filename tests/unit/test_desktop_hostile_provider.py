"""Whoever answers in the place of the provider: no answer has a machine deleted that is not ours, and none ends
in anything but an error of the adapter.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.desktop.cloud import CloudBusy, CloudRefused, CloudUnclear, Order
from dispatcher.desktop.destroy import Removal, StillThere
from dispatcher.desktop.digitalocean import Connection, DigitalOcean
from dispatcher.desktop.reap import Known, reap
from dispatcher.provision.reporting import FileReporter
from tests.servers.cloud import TOKEN
from tests.support.desktops import START, TAGS, FakeClock, Recorder

OURS = TAGS.desktop("desk-1")
ORDER = Order(name="one", region="sfo3", size="s", image="i", tags=(OURS,))


def droplet(number: int, *tags: str, **more: Any) -> dict[str, Any]:
    plain = {"id": number, "name": "other", "status": "active", "tags": list(tags)}
    return {**plain, "created_at": "2020-01-01T00:00:00Z", **more}


class Provider:
    """Gives one answer to every request, and 204 to a deletion."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.deleted: list[str] = []

    def adapter(self) -> DigitalOcean:
        transport = httpx.MockTransport(self._handle)
        return DigitalOcean(Connection(TOKEN, transport=transport), now=lambda: 1000.0)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            self.deleted.append(request.url.path)
            return httpx.Response(204)
        status = 202 if request.method == "POST" else 200
        return httpx.Response(status, json=self.body)


@pytest.mark.parametrize("tags", [(), ("somebody:else",), (TAGS.desktop("desk-10"),)])
def test_a_list_that_ignores_the_tag_deletes_nobodys_machine(tags: tuple[str, ...]) -> None:
    provider = Provider({"droplets": [droplet(7, OURS), droplet(8, *tags)], "meta": {"total": 2}})
    removal = Removal(provider.adapter(), FakeClock(), Recorder(), tag=OURS)
    with pytest.raises(StillThere, match="without that tag"):
        removal.run()
    assert provider.deleted == []


def test_a_list_that_ignores_the_tag_is_not_reaped() -> None:
    provider = Provider({"droplets": [droplet(8)], "meta": {"total": 1}})
    known = Known(droplets=frozenset(), run_keys=frozenset(), listed_at=START)
    with pytest.raises(CloudUnclear):
        reap(
            known, remove=True, cloud=provider.adapter(), clock=FakeClock(),
            reporter=Recorder(), tags=TAGS,
        )  # fmt: skip
    assert provider.deleted == []


def test_the_provider_may_write_a_tag_in_another_case() -> None:
    provider = Provider({"droplets": [droplet(7, OURS.upper())], "meta": {"total": 1}})
    assert [each.id for each in provider.adapter().tagged(OURS)] == [7]


def test_another_machine_than_the_one_asked_for_is_none() -> None:
    with pytest.raises(CloudUnclear):
        Provider({"droplet": droplet(8)}).adapter().get(7)


@pytest.mark.parametrize(
    "odd",
    ["\x1b[2J" + "x" * 10_000, "pw Ab3dEf9h key 000102030405060708090a0b0c0d0e0f", "Ab3dEf9h",
     "a" * 42, "a-", "", "alice\n", "\uff41lice", "x_y"],
)  # fmt: skip
def test_what_fits_no_name_of_ours_is_not_shown(odd: str) -> None:
    made = droplet(
        7, TAGS.all, f"disinto:run:{''.join(filter(str.isalnum, odd))}", name=odd, status=odd,
        size_slug=f"{odd}!", region={"slug": f"{odd}!"},
    )  # fmt: skip
    recorder = Recorder()
    known = Known(droplets=frozenset(), run_keys=frozenset(), listed_at=START)
    cloud = Provider({"droplets": [made], "meta": {"total": 1}}).adapter()
    reap(known, remove=False, cloud=cloud, clock=FakeClock(), reporter=recorder, tags=TAGS)
    assert recorder.said[1] == (
        "  a machine with an odd name (7), - - -, created 2020-01-01T00:00:00.000Z, run none"
    )
    assert recorder.left is not None
    assert recorder.left["leftovers"] == [{
        "droplet_id": 7, "name": "a machine with an odd name (7)", "ip": "", "run_key": "",
        "created_at": "2020-01-01T00:00:00.000Z",
    }]  # fmt: skip


def test_what_fits_is_shown() -> None:
    run_key = f"desktop-alice_1.{'0a' * 20}"
    made = droplet(
        7, *TAGS.for_run("desktop-alice_1", run_key), name="alice-1", size_slug="s-4vcpu-8gb-intel",
        region={"slug": "nyc3"}, networks={"v4": [{"ip_address": "198.51.100.7", "type": "public"}]},
    )  # fmt: skip
    recorder = Recorder()
    known = Known(droplets=frozenset(), run_keys=frozenset(), listed_at=START)
    cloud = Provider({"droplets": [made], "meta": {"total": 1}}).adapter()
    reap(known, remove=False, cloud=cloud, clock=FakeClock(), reporter=recorder, tags=TAGS)
    assert recorder.said[1] == (
        "  droplet 7 alice-1, 198.51.100.7 nyc3 s-4vcpu-8gb-intel, created 2020-01-01T00:00:00.000Z, "
        f"run {run_key}"
    )


@pytest.mark.parametrize(
    "made", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-01-01"]
)
def test_a_time_that_cannot_be_shown_is_an_answer_that_is_unknown(made: str) -> None:
    body = {"droplets": [droplet(7, TAGS.all, created_at=made)], "meta": {"total": 1}}
    known = Known(droplets=frozenset(), run_keys=frozenset(), listed_at=START)
    with pytest.raises(CloudUnclear, match="in a way that is unknown"):
        reap(
            known, remove=True, cloud=Provider(body).adapter(), clock=FakeClock(),
            reporter=Recorder(), tags=TAGS,
        )  # fmt: skip


def test_tags_that_the_provider_does_not_allow_are_not_shown() -> None:
    body = {"droplets": [droplet(7, TAGS.all, "disinto:run:\x1b[2J")], "meta": {"total": 1}}
    assert Provider(body).adapter().tagged(TAGS.all)[0].tags == (TAGS.all,)


def test_a_page_with_more_than_was_asked_for_is_no_page() -> None:
    many = [droplet(number, TAGS.all) for number in range(1, 202)]
    with pytest.raises(CloudUnclear, match="more than 200 entries"):
        Provider({"droplets": many, "meta": {"total": 201}}).adapter().tagged(TAGS.all)


def test_no_line_of_a_run_acts_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    FileReporter(progress_path=None, outputs_path=None).say("name \x1b[2J\ud800" + "x" * 10_000)
    line = capsys.readouterr().out.removesuffix("\n")
    assert line.isprintable()
    assert len(line) <= 4000


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from([OURS, "2020-01-01T00:00:00Z", "9999-99-99T99:99:99Z", "1.2.3.4"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            ["droplet", "droplets", "id", "name", "status", "tags", "created_at", "networks", "v4",
             "type", "ip_address", "region", "slug", "meta", "total", "images", "account", "message"]
        ), inner, max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


@given(ANYTHING, st.sampled_from(["create", "get", "tagged", "newest_ubuntu"]))
def test_whatever_it_answers_ends_in_an_error_of_ours_or_in_a_machine(body: Any, call: str) -> None:
    cloud = Provider(body).adapter()
    calls: dict[str, Any] = {
        "create": lambda: cloud.create(ORDER), "get": lambda: cloud.get(7),
        "tagged": lambda: cloud.tagged(OURS), "newest_ubuntu": lambda: cloud.newest_ubuntu("sfo3"),
    }  # fmt: skip
    with suppress(CloudBusy, CloudRefused, CloudUnclear):
        calls[call]()
