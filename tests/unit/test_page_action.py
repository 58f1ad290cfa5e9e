"""The page of one action: its log in pieces, and links that only the settings choose."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dispatcher.engines import registry
from dispatcher.engines.base import LogChunk, Stream
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.page import run_log
from dispatcher.page.run_log import TAIL_BYTES, RunLog, offsets_of
from dispatcher.page.site import Site
from dispatcher.settings import settings_model
from tests.support.page_client import JSON, a_site, logged_in

CLAIM = Claim(key=RunKey(action_id="x", blob="b" * 40), phase=Phase.SUBMITTED, commit="c" * 40)


class Engine:
    """Has these logs, and gives them in chunks that end anywhere.

    Attributes:
        read: bytes that were given.
    """

    def __init__(self, **logs: bytes) -> None:
        self.data = {Stream(name): data for name, data in logs.items()}
        self.read = 0

    def offsets_since(self, _claim: Claim, since: float) -> Mapping[Stream, int]:
        assert since == math.inf
        return {stream: len(data) for stream, data in self.data.items()}

    def logs(self, _claim: Claim, *, offsets: Mapping[Stream, int]) -> Iterator[LogChunk]:
        for stream, data in self.data.items():
            for at in range(offsets.get(stream, 0), len(data), 1000):
                piece = data[at : at + 1000]
                self.read += len(piece)
                yield LogChunk(stream=stream, offset=at + len(piece), data=piece)


class Ledger:
    def get(self, _action_id: str) -> Claim | None:
        return CLAIM


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(run_log, "_ledger", lambda _site: Ledger())
    return a_site(tmp_path)


def _output(
    site: Site, reached: str = "", *, pieces: int = 10_000
) -> tuple[dict[str, str], str, int]:
    """The text of each stream, the last id, and how many bytes were skipped."""

    async def read() -> list[bytes]:
        source = RunLog(site=site, action_id="x", offsets=offsets_of(reached)).events()
        events: list[bytes] = []
        try:
            while len(events) < pieces:
                events.append(await asyncio.wait_for(anext(source), 0.3))
        except TimeoutError:
            pass
        return events

    texts: dict[str, str] = {}
    last, skipped = "", 0
    for each in asyncio.run(read()):
        lines = dict(line.split(": ", 1) for line in each.decode().splitlines() if line)
        data = json.loads(lines["data"])
        texts[data["stream"]] = texts.get(data["stream"], "") + data["text"]
        last, skipped = lines["id"], skipped + data["skipped"]
    return texts, last, skipped


def _engine(monkeypatch: pytest.MonkeyPatch, **logs: bytes) -> Engine:
    engine = Engine(**logs)
    monkeypatch.setattr(run_log, "_scheduler", lambda _site: engine)
    return engine


def test_a_long_log_shows_its_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"".join(b"%09d\n" % n for n in range(200_000))
    engine = _engine(monkeypatch, stdout=lines)
    texts, last, skipped = _output(site)
    assert engine.read == TAIL_BYTES, "what is not sent is not read"
    assert lines.decode().endswith(texts["stdout"])
    assert TAIL_BYTES <= len(texts["stdout"]) < TAIL_BYTES + 2000
    assert skipped + len(texts["stdout"]) == len(lines)
    assert last == f"stdout={len(lines)},stderr=0"


def test_it_resumes_where_the_browser_was(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(monkeypatch, stdout=b"one\ntwo\n", stderr=b"three\n")
    texts, last, _ = _output(site, "stdout=4,stderr=0")
    assert texts == {"stdout": "two\n", "stderr": "three\n"}
    assert _output(site, last)[0] == {}


def test_letters_are_whole_across_pieces(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "é" * 1_500 + "سطر"
    _engine(monkeypatch, stdout=b"x" + text.encode())
    assert _output(site)[0] == {"stdout": f"x{text}"}


def test_commands_for_terminals_are_left_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(
        monkeypatch,
        stdout=b"\x1b[31mred\x1b[0m \x1b]0;title\x07a\x00\x9b1m\xe2\x80\xaeb\r\n\t<b>\n",
    )
    assert _output(site)[0]["stdout"].startswith("red a")
    assert "\x1b" not in _output(site)[0]["stdout"]
    assert _output(site)[0]["stdout"].endswith("\n\t<b>\n")


@pytest.mark.parametrize(
    "text", ["", "stdout=1", "stdout=-1,stderr=0", "stdout=1,stderr=" + "9" * 99]
)
def test_a_strange_id_is_the_beginning(text: str) -> None:
    assert offsets_of(text) == {}


@pytest.mark.parametrize("path", ["/actions/..%2f..%2fetc", "/actions/A", "/actions/%3Cscript%3E"])
def test_what_is_no_id_is_not_found(site: Site, path: str) -> None:
    answer = logged_in(site).get(path, headers=JSON)
    assert answer.status_code == 404


def test_without_a_form_token_nothing_is_cancelled(site: Site) -> None:
    client = logged_in(site)
    assert client.post("/actions/x/cancel", data={"reason": "x"}).status_code == 403
    assert client.get("/actions/x/cancel").status_code == 405


def test_a_link_to_the_engine_is_of_the_settings(tmp_path: Path) -> None:
    def url(addr: str, **names: str) -> str:
        own: dict[str, Any] = {"state_dir": tmp_path, "nomad": {"addr": addr}}
        return registry.get("nomad").web_url(
            settings_model()(**own), **{"job": "", "alloc": "", **names}
        )

    assert url("https://nomad.example:4646/", alloc="a/../b") == (
        "https://nomad.example:4646/ui/allocations/a%2F..%2Fb"
    )
    assert url("https://nomad.example", job='j/d-1"') == (
        "https://nomad.example/ui/jobs/j%2Fd-1%22@default"
    )
    assert url("https://nomad.example") == ""
    assert url("unix:///run/nomad.sock", job="x") == ""
