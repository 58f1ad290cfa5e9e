"""Reads the output of a run, of whatever engine: while it is written, and where it is kept afterwards."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
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
from dispatcher.settings import Role

TAIL_BYTES = 256 * 1024
"""Of each stream at first: a log of 100 MB must not hang a browser."""

Offsets = dict[Stream, int]


@dataclass(kw_only=True, slots=True)
class Span:
    """Output of one stream without a gap; ``begin`` is the offset of its first byte."""

    stream: Stream
    begin: int
    data: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        """Offset after its last byte."""
        return self.begin + len(self.data)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fresh:
    """What was read at once.

    Attributes:
        spans: of each stream the end of what is new, at most ``TAIL_BYTES``.
        ended: whether no more will come.
        waits: whether no run is known, so that nothing comes for a while.
        source: where it came from, in words, once it has ended.
    """

    spans: Sequence[Span] = ()
    ended: bool
    waits: bool = False
    source: str = ""


@dataclass(kw_only=True)
class RunOutput:
    """The output of one run. Used by one thread at a time."""

    site: Site
    action_id: str
    _begun: bool = False

    def read(self, offsets: Offsets) -> Fresh:
        """What lies beyond the offsets now."""
        claim = self._claim()
        runs = claim is not None and claim.phase in (Phase.CLAIMED, Phase.SUBMITTED)
        try:
            if claim is not None and runs:
                written = self._engine.logs(claim, offsets=self._near_end(claim, offsets))
                return Fresh(spans=_tails(written, offsets), ended=False)
            found = self._of_result(claim, offsets)
            if found is None:
                return Fresh(ended=not self._to_come(), waits=True)
            chunks, source = found
            return Fresh(spans=_tails(chunks, offsets), ended=True, source=source)
        except DisintoError as error:
            return Fresh(ended=not runs, source=error.what)

    def _to_come(self) -> bool:
        """Whether its action is in git: it has not begun, or its result is not here yet."""
        return tree_of(self.site, self.action_id).action_path(self.action_id) is not None

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

    def _near_end(self, claim: Claim, offsets: Offsets) -> Offsets:
        """Where to begin to read: no more than the end is sent, and what lies before it may be much."""
        if self._begun:
            return offsets
        self._begun = True
        try:
            ends = self._engine.offsets_since(claim, math.inf)
        except DisintoError:
            return offsets
        return offsets | {
            stream: max(offsets.get(stream, 0), end - TAIL_BYTES) for stream, end in ends.items()
        }

    def _of_result(
        self, claim: Claim | None, offsets: Offsets
    ) -> tuple[Iterable[LogChunk], str] | None:
        """What was kept of it, and where; None if there is no result yet."""
        live, settings = followed(self.site), self.site.settings
        tree = tree_of(self.site, self.action_id)
        result = read_result(live.repo, tree, self.action_id)
        if result is None and claim is not None:
            result = ended_result(claim)
        if result is None:
            return None
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
            return ended.chunks, ended.source
        data = result.logs.encode("utf-8", "replace")
        fresh = offsets.get(Stream.STDOUT, 0) < len(data)
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


def _tails(chunks: Iterable[LogChunk], offsets: Mapping[Stream, int]) -> list[Span]:
    """What lies beyond the offsets, the end of each stream."""
    spans: dict[Stream, deque[Span]] = {}
    for chunk in chunks:
        begin = chunk.offset - len(chunk.data)
        known = max(0, offsets.get(chunk.stream, 0) - begin)
        if known < len(chunk.data):
            kept = spans.setdefault(chunk.stream, deque())
            if not kept or kept[-1].end != begin + known:
                kept.append(Span(stream=chunk.stream, begin=begin + known))
            kept[-1].data += chunk.data[known:]
            _shorten(kept)
    return [span for kept in spans.values() for span in kept]


def _shorten(spans: deque[Span]) -> None:
    """Remove what lies before the end of a stream."""
    surplus = sum(len(span.data) for span in spans) - TAIL_BYTES
    while surplus >= len(spans[0].data):
        surplus -= len(spans.popleft().data)
    if surplus > 0:
        del spans[0].data[:surplus]  # bytearray moves its begin, and no bytes
        spans[0].begin += surplus


def _ledger(site: Site) -> Ledger | None:
    from dispatcher.assembly import open_ledger

    if site.settings.role is Role.AUTHOR:
        return None
    return open_ledger(site.settings, os.environ)


def _scheduler(site: Site) -> Scheduler:
    from dispatcher.assembly import open_scheduler

    return open_scheduler(site.settings, os.environ)
