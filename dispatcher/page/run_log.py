"""The output of a run as events: its end so far, then what is written, until it has ended.

Each event carries how far both streams have come, as its id. A browser that comes back sends the last
one, and gets what it has missed.
"""

from __future__ import annotations

import asyncio
import codecs
import math
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from dispatcher.engines.base import LogChunk, Scheduler, Stream
from dispatcher.errors import DisintoError
from dispatcher.ledger.base import Ledger
from dispatcher.model.result import RESULT_LIMIT, Result, ended_result
from dispatcher.model.run import Claim, Phase
from dispatcher.operate.ended_output import ended_output, never_started
from dispatcher.operate.files import read_result
from dispatcher.operate.kept_output import kept_chunks, unproven
from dispatcher.ops_repo import Tree
from dispatcher.page.account import tree_of
from dispatcher.page.acting import followed
from dispatcher.page.site import Site
from dispatcher.page.streams import event
from dispatcher.settings import Role

TAIL_BYTES = 256 * 1024
"""Of each stream at first: a log of 100 MB must not hang a browser."""

PIECE = 32 * 1024
"""Bytes of one event at most."""

POLL_S = 0.7

_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f"
    r"\u202a-\u202e\u2066-\u2069]"
)
"""Colours and other commands for terminals, and characters that turn the reading direction."""

_ID = re.compile(r"stdout=(\d{1,15}),stderr=(\d{1,15})")

Offsets = dict[Stream, int]


@dataclass(kw_only=True)
class RunLog:
    """The log of one run, for one browser.

    Attributes:
        offsets: how far the browser has read.
    """

    site: Site
    action_id: str
    offsets: Offsets
    _decoders: dict[Stream, codecs.IncrementalDecoder] = field(default_factory=dict)
    _begun: bool = False

    async def events(self) -> AsyncIterator[bytes]:
        """``output`` events, then one ``end``, which says where the output came from."""
        while True:
            claim = await asyncio.to_thread(self._claim)
            ended = claim is None or claim.phase not in (Phase.CLAIMED, Phase.SUBMITTED)
            chunks, source = await asyncio.to_thread(self._chunks, claim)
            for chunk in chunks:
                yield self._event(chunk)
            if ended:
                yield event({"source": source}, name="end", event_id=self._id)
                return
            await asyncio.sleep(POLL_S)

    @cached_property
    def _claims(self) -> Ledger | None:
        return _ledger(self.site)

    @cached_property
    def _engine(self) -> Scheduler:
        return _scheduler(self.site)

    def _claim(self) -> Claim | None:
        ledger = self._claims
        try:
            return ledger.get(self.action_id) if ledger is not None else None
        except DisintoError:
            return None

    def _chunks(self, claim: Claim | None) -> tuple[list[LogChunk], str]:
        """What is new, cut to the end of each stream; and where it comes from, in words."""
        try:
            if claim is not None and claim.phase in (Phase.CLAIMED, Phase.SUBMITTED):
                begin = self._near_end(claim)
                return _tail(self._engine.logs(claim, offsets=begin), self.offsets), ""
            return self._of_result(claim)
        except DisintoError as error:
            return [], error.what

    def _near_end(self, claim: Claim) -> Offsets:
        """Where to begin to read: no more than the end is sent, and what lies before it may be much."""
        if self._begun:
            return self.offsets
        self._begun = True
        try:
            ends = self._engine.offsets_since(claim, math.inf)
        except DisintoError:
            return self.offsets
        return self.offsets | {
            stream: max(self.offsets.get(stream, 0), end - TAIL_BYTES)
            for stream, end in ends.items()
        }

    def _of_result(self, claim: Claim | None) -> tuple[list[LogChunk], str]:
        live, settings = followed(self.site), self.site.settings
        tree = tree_of(self.site, self.action_id)
        result = read_result(live.repo, tree, self.action_id)
        if result is None and claim is not None:
            result = ended_result(claim)
        if result is None:
            return [], ""
        if never := never_started(result):
            return [], never
        output = result.output
        ended = ended_output(
            result,
            lambda: self._engine,
            settings,
            kept=(lambda: kept_chunks(live.repo, output)) if output is not None else None,
            unproven="" if output is None else self._unproven(tree, result),
        )
        if ended.chunks is not None:
            return _tail(ended.chunks, self.offsets), ended.source
        data = result.logs.encode("utf-8", "replace")
        fresh = self.offsets.get(Stream.STDOUT, 0) < len(data)
        chunk = LogChunk(stream=Stream.STDOUT, offset=len(data), data=data)
        return [chunk] if data and fresh else [], ended.source

    def _unproven(self, tree: Tree, result: Result) -> str:
        """Why the output that a result names is not shown; see ``kept_output``."""
        from dispatcher.assembly import open_vault
        from dispatcher.loop.signing import result_verifier

        settings = self.site.settings
        path = tree.result_path(self.action_id) or ""
        data = followed(self.site).repo.read_file(tree.commit, path, limit=RESULT_LIMIT)
        verifier = result_verifier(settings, open_vault(settings, os.environ))
        return unproven(data if isinstance(data, bytes) else b"", result, verifier)

    def _event(self, chunk: LogChunk) -> bytes:
        before = self.offsets.get(chunk.stream, 0)
        skipped = max(0, chunk.offset - len(chunk.data) - before)
        self.offsets[chunk.stream] = chunk.offset
        decoder = self._decoders.setdefault(
            chunk.stream, codecs.getincrementaldecoder("utf-8")("replace")
        )
        text = _CONTROL.sub("", decoder.decode(chunk.data))
        data = {"stream": chunk.stream.value, "text": text, "skipped": skipped}
        return event(data, name="output", event_id=self._id)

    @property
    def _id(self) -> str:
        return ",".join(f"{stream.value}={self.offsets.get(stream, 0)}" for stream in Stream)


def offsets_of(event_id: str) -> Offsets:
    """How far a browser has read, by the last id that it got; nothing for any other text."""
    found = _ID.fullmatch(event_id)
    return {Stream.STDOUT: int(found[1]), Stream.STDERR: int(found[2])} if found else {}


def _tail(chunks: Iterable[LogChunk], offsets: Mapping[Stream, int]) -> list[LogChunk]:
    """What lies beyond the offsets, the end of each stream, in pieces of a bearable size."""
    kept: dict[Stream, deque[LogChunk]] = {}
    sizes: dict[Stream, int] = {}
    for chunk in chunks:
        for piece in _pieces(chunk, offsets.get(chunk.stream, 0)):
            waiting = kept.setdefault(piece.stream, deque())
            waiting.append(piece)
            sizes[piece.stream] = sizes.get(piece.stream, 0) + len(piece.data)
            while sizes[piece.stream] - len(waiting[0].data) >= TAIL_BYTES:
                sizes[piece.stream] -= len(waiting.popleft().data)
    return [chunk for waiting in kept.values() for chunk in waiting]


def _pieces(chunk: LogChunk, read: int) -> Iterator[LogChunk]:
    begins = chunk.offset - len(chunk.data)
    for at in range(max(0, read - begins), len(chunk.data), PIECE):
        data = chunk.data[at : at + PIECE]
        yield LogChunk(stream=chunk.stream, offset=begins + at + len(data), data=data)


def _ledger(site: Site) -> Ledger | None:
    from dispatcher.assembly import open_ledger

    if site.settings.role is Role.AUTHOR:
        return None
    return open_ledger(site.settings, os.environ)


def _scheduler(site: Site) -> Scheduler:
    from dispatcher.assembly import open_scheduler

    return open_scheduler(site.settings, os.environ)
