"""The overview: the same facts for people and programs, however hostile; and its events."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.errors import Dependency
from dispatcher.model.health import DependencyHealth, WaitingFor
from dispatcher.model.result import Result
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import Delta, Entry
from dispatcher.page.board import cursor
from dispatcher.page.chart import DAYS, HEIGHT, chart
from dispatcher.page.index import Index
from dispatcher.page.live import Live
from dispatcher.page.pages.events import versions
from dispatcher.page.site import Site
from dispatcher.page.streams import BUSY_RETRY_MS, EventResponse, Streams
from dispatcher.status.overview import OpenAction, Overview, State
from dispatcher.status.status_file import NAME, VERSION
from tests.support.page_client import JSON, a_site, live_markup, logged_in

MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e"


class NoRepo:
    """No git is needed: the index is filled by hand."""


def _write(state_dir: Path, overview: Overview) -> None:
    content = {
        "version": VERSION,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "ended": False,
        "overview": overview.to_json(),
    }
    new = state_dir / "new"
    new.write_text(json.dumps(content))
    new.replace(state_dir / NAME)


def _overview(**facts: Any) -> Overview:
    return Overview(at=time.time(), head="a" * 40, leader="host-1", **facts)


@pytest.fixture
def live(tmp_path: Path) -> Live:
    index = Index(tmp_path / "web", now=time.time)
    return Live(tmp_path, NoRepo(), index, poll_s=60)  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path, live: Live) -> Site:
    site = a_site(tmp_path)
    site.live = live
    return site


def _add(index: Index, action_id: str, **facts: Any) -> None:
    verdict = facts.pop("verdict", Verdict.SUCCEEDED)
    result = Result(
        id=action_id,
        exit_code=0 if verdict.success else 1,
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        verdict=verdict,
        **facts,
    )
    oid = f"{abs(hash(action_id)):040x}"
    path = f"vault/actions/{action_id}.result.json"
    delta = Delta(commit=f"{index.commit}.", events=((path, Entry(mode=0o100644, oid=oid)),))
    index.enter(delta, base=index.commit)
    index.read_some(lambda _blobs: {oid: result.to_json().encode()})


def test_what_runs_waits_and_is_down(site: Site, live: Live, tmp_path: Path) -> None:
    running = OpenAction(
        id="build-7",
        state=State.RUNNING,
        formula="build",
        node="node-3",
        progress={"stage": "compile", "percent": 48, "detail": "core", "at": None},
    )
    waiting = OpenAction(
        id="deploy-9",
        state=State.WAITING,
        waiting_for=WaitingFor.APPROVAL,
        reason="needs approval from carol",
    )
    vault = DependencyHealth(dependency=Dependency.VAULT, up=False, since=1.0, error="sealed")
    _write(
        tmp_path,
        _overview(open=(running, waiting), dependencies=(vault,), warnings=("a clock is off",)),
    )
    _add(live.index, "old-1", verdict=Verdict.FAILED, error="disk full")
    live.index.searched({"build-7": "Ada"}, None)
    live.look()
    client = logged_in(site)
    data = client.get("/", headers=JSON).json()
    assert data["serving"]
    assert [(a["action"]["id"], a["author"]) for a in data["running"]["actions"]] == [
        ("build-7", "Ada")
    ]
    assert data["waiting"]["actions"][0]["action"]["waiting_for"] == "approval"
    assert [a["action"]["verdict"] for a in data["results"]] == ["failed"]
    assert [each["dependency"] for each in data["down"]] == ["vault"]
    html = client.get("/").text
    assert '<progress max="100" value="48"' in html
    for text in ("needs approval from carol", "sealed", "disk full", "a clock is off", "node-3"):
        assert text in html


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["run-a", "wait-b", "done-c", "done-d"]),
        ("state=waiting", ["wait-b"]),
        ("state=failed", ["done-d"]),
        ("state=finished", ["done-c", "done-d"]),
        ("author=Ada", ["run-a", "done-c"]),
        ("text=-B", ["wait-b"]),
        ("text=full&state=failed", ["done-d"]),
        ("formula=none", []),
    ],
)
def test_filters(site: Site, live: Live, tmp_path: Path, query: str, ids: list[str]) -> None:
    opened = (
        OpenAction(id="run-a", state=State.RUNNING),
        OpenAction(id="wait-b", state=State.WAITING),
    )
    _write(tmp_path, _overview(open=opened))
    _add(live.index, "done-c")
    _add(live.index, "done-d", verdict=Verdict.FAILED, error="disk full")
    live.index.searched({"run-a": "Ada", "done-c": "Ada"}, None)
    live.look()
    client = logged_in(site)
    data = client.get(f"/overview.json?{query}").json()
    groups = (data["running"]["actions"], data["waiting"]["actions"], data["results"])
    assert sorted(each["action"]["id"] for group in groups for each in group) == sorted(ids)
    html = client.get(f"/?{query}").text
    assert {i for i in ("run-a", "wait-b", "done-c", "done-d") if f"/actions/{i}" in html} == set(
        ids
    )


def test_without_a_dispatcher_it_says_so(site: Site, live: Live, tmp_path: Path) -> None:
    live.look()
    client = logged_in(site)
    assert "No dispatcher runs here" in client.get("/").text
    _write(tmp_path, replace(_overview(open=(OpenAction(id="x", state=State.RUNNING),)), at=1.0))
    live.look()
    assert "as it was last known" in client.get("/").text


def test_markup_is_dead_wherever_it_stands(site: Site, live: Live, tmp_path: Path) -> None:
    hostile = OpenAction(
        id="x",
        state=State.RUNNING,
        reason=MARKUP,
        formula=MARKUP,
        node=MARKUP,
        progress={"stage": MARKUP, "percent": None, "detail": MARKUP, "at": MARKUP},
    )
    down = DependencyHealth(dependency=Dependency.FORGE, up=False, since=0.0, error=MARKUP)
    _write(tmp_path, _overview(open=(hostile,), warnings=(MARKUP,), dependencies=(down,)))
    _add(live.index, "done", verdict=Verdict.ERROR, error=MARKUP)
    live.index.searched({"x": MARKUP, "done": MARKUP}, None)
    live.look()
    client = logged_in(site)
    plain = {"formula": "", "author": "", "text": ""}
    for query in (plain, dict.fromkeys(plain, MARKUP), {"lang": MARKUP, "before": MARKUP}):
        html = client.get("/", params=query).text
        assert live_markup(html) == []


def test_long_lists_are_cut(site: Site, live: Live, tmp_path: Path) -> None:
    opened = tuple(
        OpenAction(id=f"w{n}", state=State.WAITING, reason="r" * 200) for n in range(1000)
    )
    _write(tmp_path, _overview(open=opened))
    live.look()
    answer = logged_in(site).get("/")
    assert len(answer.content) < 100_000
    assert "975 more" in answer.text


@pytest.mark.parametrize("text", ["", "~", "x~y", "nan", "1.5~", "~id"])
def test_a_strange_cursor_is_the_beginning(text: str) -> None:
    assert cursor(text) is None


def test_the_chart_shows_what_is_rare() -> None:
    now = 100.5 * 86_400
    drawn = chart(
        {100: {"succeeded": 9_999, "failed": 1}, 71: {"lost": 1}, 3: {"lost": 5}}, now=now
    )
    assert len(drawn.bars) == DAYS
    assert (drawn.highest, drawn.good, drawn.bad) == (10_000, 9_999, 2)
    last = drawn.bars[-1]
    assert last.bad_height >= 1.5
    assert last.bad_y >= -4
    assert last.good_y + last.good_height == HEIGHT


class TestEvents:
    def test_a_change_is_announced_at_once(self, live: Live, tmp_path: Path) -> None:
        async def follow() -> list[str]:
            source = versions(live, live.version)
            coming = asyncio.ensure_future(anext(source))
            await asyncio.sleep(0)
            _write(tmp_path, _overview(open=(OpenAction(id="x", state=State.RUNNING),)))
            await asyncio.to_thread(live.look)
            text = await asyncio.wait_for(coming, 10)
            await source.aclose()  # type: ignore[attr-defined]
            return text.decode().splitlines()

        live.look()
        lines = asyncio.run(follow())
        assert lines[:2] == [f"id: {live.version}", "event: changed"]

    def test_who_knows_the_version_gets_none(self, live: Live) -> None:
        async def first(last: str) -> bytes | None:
            coming = asyncio.ensure_future(anext(versions(live, last)))
            await asyncio.sleep(0.05)
            return coming.result() if coming.done() else None

        live.look()
        assert asyncio.run(first("an old one")) is not None
        assert asyncio.run(first(live.version)) is None

    def test_a_round_in_which_nothing_happens_is_no_change(
        self, live: Live, tmp_path: Path
    ) -> None:
        _write(tmp_path, _overview())
        live.look()
        version = live.version
        _write(tmp_path, _overview())
        live.look()
        assert live.version == version


class TestStreams:
    def test_one_too_many_is_told_to_come_back(self) -> None:
        streams = Streams(most=0)
        sent = asyncio.run(_receive(EventResponse(_endless(), streams)))
        assert sent == f"retry: {BUSY_RETRY_MS}\n\n".encode()
        assert streams.open == 0

    def test_one_that_does_not_read_is_dropped(self) -> None:
        streams, dropped = Streams(send_s=0.01), list[bool]()
        scope = {"extensions": {"dispatcher.page.abort": lambda: dropped.append(True)}}

        async def stuck(message: Any) -> None:
            if b"data" in message.get("body", b""):
                await asyncio.Event().wait()

        async def connected() -> Any:
            await asyncio.Event().wait()

        asyncio.run(EventResponse(_endless(), streams)(scope, connected, stuck))
        assert dropped == [True]
        assert streams.open == 0

    def test_one_that_leaves_makes_room(self) -> None:
        streams = Streams()

        async def left() -> Any:
            return {"type": "http.disconnect"}

        async def ignore(_message: Any) -> None:
            return None

        asyncio.run(EventResponse(_endless(), streams)({}, left, ignore))
        assert streams.open == 0


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"data: 1\n\n"
        await asyncio.sleep(0.005)


async def _receive(response: EventResponse) -> bytes:
    sent = b""

    async def connected() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        nonlocal sent
        sent += message.get("body", b"")

    await response({}, connected, send)
    return sent


def test_live_markup_would_be_noticed() -> None:
    assert live_markup(MARKUP) == ["script ", "img x", "onerror"]
