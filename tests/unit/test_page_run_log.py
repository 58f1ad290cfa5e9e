"""The output of a run as events: its end, in pieces, read and rendered once for all who follow it."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from dispatcher.engines.base import LogChunk, Stream
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.page import run_log, run_output
from dispatcher.page.run_log import PIECE, RunLogs, offsets_of
from dispatcher.page.run_output import TAIL_BYTES
from dispatcher.page.site import Site
from tests.support.page_client import a_site

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
    monkeypatch.setattr(run_output, "_ledger", lambda _site: Ledger())
    return a_site(tmp_path)


def _output(
    site: Site, reached: str = "", *, pieces: int = 10_000
) -> tuple[dict[str, str], str, int]:
    """The text of each stream, the last id, and how many bytes were skipped."""

    async def read() -> list[bytes]:
        source = RunLogs(site).events("x", offsets_of(reached))
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
    monkeypatch.setattr(run_output, "_scheduler", lambda _site: engine)
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


async def _next(source: AsyncIterator[bytes]) -> bytes:
    return await asyncio.wait_for(anext(source), 30)


def _shown(event: bytes) -> tuple[str, int, str]:
    """Text of an event, how many bytes were skipped before it, and its id."""
    lines = dict(line.split(": ", 1) for line in event.decode().splitlines() if line)
    data = json.loads(lines["data"])
    return data["text"], data["skipped"], lines["id"]


class TestOneLogForAll:
    """What a crowd that follows one run costs does not grow with the run's output."""

    def test_the_output_is_read_and_rendered_once(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = _engine(monkeypatch, stdout=b"x" * 2 * TAIL_BYTES, stderr=b"error\n")

        async def read() -> list[list[bytes]]:
            logs = RunLogs(site)
            sources = [logs.events("x", {}) for _ in range(50)]
            pieces = TAIL_BYTES // PIECE + 1
            return [[await _next(source) for _ in range(pieces)] for source in sources]

        first, *others = asyncio.run(read())
        assert engine.read == TAIL_BYTES + len(b"error\n")
        assert all(
            mine is theirs for each in others for mine, theirs in zip(first, each, strict=True)
        )

    def test_one_that_reads_slowly_misses_what_all_have_seen(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_log, "POLL_S", 0.0)
        engine = _engine(monkeypatch, stdout=b"begin\n")

        async def read() -> tuple[str, int, str]:
            logs = RunLogs(site)
            fast, slow = logs.events("x", {}), logs.events("x", {})
            assert _shown(await _next(slow))[0] == "begin\n"
            assert _shown(await _next(fast))[0] == "begin\n"
            written = len(b"begin\n")
            while written < 3 * TAIL_BYTES:
                engine.data[Stream.STDOUT] += b"y" * PIECE
                written += len(_shown(await _next(fast))[0])
            return _shown(await _next(slow))

        text, skipped, last = asyncio.run(read())
        assert set(text) == {"y"}
        assert 0 < skipped <= 3 * TAIL_BYTES - TAIL_BYTES + PIECE
        assert last == f"stdout={len(b'begin') + 1 + skipped + len(text)},stderr=0"

    def test_one_that_comes_back_gets_the_rest_of_a_piece(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _engine(monkeypatch, stdout=b"one\ntwo\n", stderr=b"three\n")

        async def read() -> list[tuple[str, int, str]]:
            logs = RunLogs(site)
            whole, back = (
                logs.events("x", {}),
                logs.events("x", offsets_of("stdout=4,stderr=2")),
            )
            assert _shown(await _next(whole))[0] == "one\ntwo\n"
            return [_shown(await _next(back)) for _ in range(2)]

        assert asyncio.run(read()) == [
            ("two\n", 0, "stdout=8,stderr=2"),
            ("ree\n", 0, "stdout=8,stderr=6"),
        ]

    def test_a_letter_waits_for_its_rest(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_log, "POLL_S", 0.0)
        letter = "س".encode()
        engine = _engine(monkeypatch, stdout=b"x" + letter[:1])

        async def read() -> list[tuple[str, int, str]]:
            source = RunLogs(site).events("x", {})
            first = _shown(await _next(source))
            engine.data[Stream.STDOUT] += letter[1:]
            return [first, _shown(await _next(source))]

        assert asyncio.run(read()) == [("x", 0, "stdout=1,stderr=0"), ("س", 0, "stdout=3,stderr=0")]

    def test_nobody_left_nothing_read(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_log, "POLL_S", 0.0)
        engine = _engine(monkeypatch, stdout=b"one\n")

        async def read() -> tuple[int, str]:
            logs = RunLogs(site)
            for _ in range(2):  # who comes at once after the last one has left begins anew
                source = logs.events("x", {})
                await _next(source)
                await source.aclose()  # type: ignore[attr-defined]
            engine.data[Stream.STDOUT] += b"two\n"
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*tasks, return_exceptions=True)
            before = engine.read
            text = _shown(await _next(logs.events("x", {})))[0]
            return before, text

        assert asyncio.run(read()) == (2 * len(b"one\n"), "one\ntwo\n")

    def test_one_that_had_ended_is_looked_at_again(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the end is still being sent to somebody else, it may have begun again."""
        _engine(monkeypatch, stdout=b"one\n")
        _claimed_at_look(monkeypatch, 2)
        monkeypatch.setattr(run_output.RunOutput, "_of_result", lambda *_: ((), "kept nowhere"))

        async def read() -> tuple[bytes, str]:
            logs = RunLogs(site)
            early = logs.events("x", {})
            end = await _next(early)
            return end, _shown(await _next(logs.events("x", {})))[0]

        end, text = asyncio.run(read())
        assert b"event: end" in end
        assert b"kept nowhere" in end
        assert text == "one\n"


@pytest.mark.parametrize("known", [True, False])
def test_what_has_not_begun_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    """Who opens the page of an action that waits sees its output once it runs; of none there is an end."""
    monkeypatch.setattr(run_log, "WAIT_S", 0.0)
    _engine(monkeypatch, stdout=b"one\n")
    _claimed_at_look(monkeypatch, 3)
    monkeypatch.setattr(run_output.RunOutput, "_of_result", lambda *_: None)
    monkeypatch.setattr(run_output.RunOutput, "_to_come", lambda _: known)

    async def read() -> bytes:
        return await _next(RunLogs(site).events("x", {}))

    event = asyncio.run(read())
    assert b"event: end" not in event if known else b"event: end" in event
    if known:
        assert _shown(event) == ("one\n", 0, "stdout=4,stderr=0")


def _claimed_at_look(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have the ledger know of the run from so many looks on."""
    looks = iter(range(1, 1_000_000))
    monkeypatch.setattr(Ledger, "get", lambda *_: CLAIM if next(looks) >= number else None)
