"""The output of a run as events: its end so far, then what is written, until it has ended. What has not begun is
waited for.

Each event carries how far both streams have come, as its id. A browser that comes back sends the last
one, and gets what it has missed.

However many follow a run, its output is read once, and each event is rendered once: a stream holds a place in what
all share, and nothing of its own but the event that is being sent to it.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from dispatcher.engines.base import Stream
from dispatcher.page.run_output import TAIL_BYTES, Offsets, RunOutput, Span
from dispatcher.page.site import Site
from dispatcher.page.streams import event

PIECE = 32 * 1024
"""Bytes of output in one event at most."""

POLL_S = 0.7
WAIT_S = 2.0
"""Seconds between two looks: while it is written, and while no run is known."""

_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f"
    r"\u202a-\u202e\u2066-\u2069]"
)
"""Colours and other commands for terminals, and characters that turn the reading direction."""

_ID = re.compile(r"stdout=(\d{1,15}),stderr=(\d{1,15})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some output of one stream; no letter is cut at its end.

    Attributes:
        number: of its place among the pieces of both streams.
        before: how far a browser has read that got all pieces before it.
        event: what is sent to such a browser.
    """

    number: int
    stream: Stream
    begin: int
    data: bytes
    before: Offsets
    event: bytes

    @property
    def end(self) -> int:
        """Offset after its last byte."""
        return self.begin + len(self.data)

    def event_for(self, offsets: Offsets) -> bytes:
        """What is sent to a browser that has read so far."""
        if offsets == self.before:
            return self.event
        known = max(0, offsets.get(self.stream, 0) - self.begin)
        return _event(self.stream, self.begin + known, self.data[known:], offsets)


class RunLog:
    """The output of one run, for all browsers that follow it. Used on the event loop only.

    Args:
        ended: called once nothing will be added to it.
    """

    def __init__(self, output: RunOutput, *, ended: Callable[[], None]) -> None:
        self.readers = 0
        self._output = output
        self._pieces: dict[Stream, deque[Piece]] = {stream: deque() for stream in Stream}
        self._reached: Offsets = {}
        self._count = 0
        self._news = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())
        self._reading.add_done_callback(lambda _: ended())
        self._reading.add_done_callback(lambda _: self._announce())

    def close(self) -> None:
        """Read no more."""
        self._reading.cancel()

    async def events(self, offsets: Offsets) -> AsyncIterator[bytes]:
        """``output`` events of what lies beyond the offsets, then one ``end``, which says where the output
        came from.
        """
        while True:
            news = self._news
            while (piece := self._after(offsets)) is not None:
                yield piece.event_for(offsets)
                offsets = offsets | {piece.stream: piece.end}
            if self._reading.done():
                yield event({"source": self._reading.result()}, name="end", event_id=_id(offsets))
                return
            await news.wait()

    def _after(self, offsets: Offsets) -> Piece | None:
        """The first piece that a browser has not read to its end."""
        unread = (
            next((piece for piece in pieces if piece.end > offsets.get(stream, 0)), None)
            for stream, pieces in self._pieces.items()
        )
        return min(filter(None, unread), key=lambda piece: piece.number, default=None)

    async def _read(self) -> str:
        """Add what is written until the run has ended; where its output came from."""
        while True:
            fresh = await asyncio.to_thread(self._output.read, self._reached)
            for span in fresh.spans:
                self._add(span, final=fresh.ended)
            if fresh.ended:
                return fresh.source
            self._announce()
            await asyncio.sleep(WAIT_S if fresh.waits else POLL_S)

    def _add(self, span: Span, *, final: bool) -> None:
        """Add the pieces of what was read; a letter of which a part is missing waits for the rest."""
        pieces, data = self._pieces[span.stream], bytes(span.data)
        at = 0
        while at < len(data):
            last = at + PIECE >= len(data)
            text = data[at : at + PIECE]
            whole = codecs.utf_8_decode(text, "replace", final and last)[1]
            if not whole:
                break
            begin = span.begin + at
            pieces.append(
                Piece(
                    number=self._count,
                    stream=span.stream,
                    begin=begin,
                    data=text[:whole],
                    before=self._reached,
                    event=_event(span.stream, begin, text[:whole], self._reached),
                )
            )
            at += whole
            self._count += 1
            self._reached = self._reached | {span.stream: begin + whole}
        while pieces and pieces[-1].end - pieces[0].end >= TAIL_BYTES:
            pieces.popleft()

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class RunLogs:
    """The logs of the runs that are being followed. Used on the event loop only."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._of: dict[str, RunLog] = {}

    async def events(self, action_id: str, offsets: Offsets) -> AsyncIterator[bytes]:
        """See ``RunLog.events``."""
        log = self._of.get(action_id)
        if log is None:
            output = RunOutput(site=self._site, action_id=action_id)
            log = RunLog(output, ended=lambda: self._forget(action_id, log))
            self._of[action_id] = log
        log.readers += 1
        try:
            async for text in log.events(offsets):
                yield text
        finally:
            log.readers -= 1
            if not log.readers:
                self._forget(action_id, log)
                log.close()

    def _forget(self, action_id: str, log: RunLog | None) -> None:
        """Have whoever comes next begin anew: a run that had not begun may have."""
        if self._of.get(action_id) is log:
            del self._of[action_id]


def offsets_of(event_id: str) -> Offsets:
    """How far a browser has read, by the last id that it got; nothing for any other text."""
    found = _ID.fullmatch(event_id)
    reached = zip((Stream.STDOUT, Stream.STDERR), found.groups() if found else (), strict=False)
    return {stream: int(offset) for stream, offset in reached if int(offset)}


def _event(stream: Stream, begin: int, data: bytes, offsets: Offsets) -> bytes:
    """Tell a browser that has read up to the offsets what comes next in one stream."""
    skipped = begin - offsets.get(stream, 0)
    text = _CONTROL.sub("", data.decode("utf-8", "replace"))
    shown = {"stream": stream.value, "text": text, "skipped": max(0, skipped)}
    event_id = _id(offsets | {stream: begin + len(data)})
    return event(shown, name="output", event_id=event_id)


def _id(offsets: Offsets) -> str:
    return ",".join(f"{stream.value}={offsets.get(stream, 0)}" for stream in Stream)
