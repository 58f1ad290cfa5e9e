"""The output of a run that has ended, from the most complete source that still has it.

The sources in order: what the engine kept (the local engine's files in the state directory, a
finished job in Nomad), what the ops repository keeps (``kept_output``), then the end of the output in
the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from dispatcher.engines import registry
from dispatcher.engines.base import LogChunk, Scheduler, TimesNotKept
from dispatcher.errors import DisintoError
from dispatcher.model.result import LOGS_LIMIT, Result
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.settings import Settings


@dataclass(frozen=True, kw_only=True)
class EndedOutput:
    """The available part of a run's output.

    Attributes:
        chunks: both streams, redacted; None if only the result has some of it.
        source: where the output comes from, and what is missing; for people.
    """

    chunks: Iterator[LogChunk] | None
    source: str


def never_started(result: Result) -> str:
    """Why there is no output, in words, if the run never started; else ""."""
    if result.started_at is None and not (result.engine.kind or result.logs):
        return f"action {result.id} never started ({result.verdict}), so it has no output"
    return ""


def ended_output(
    result: Result,
    scheduler: Callable[[], Scheduler],
    settings: Settings,
    *,
    since: float | None = None,
    kept: Callable[[], Iterator[LogChunk]] | None = None,
    unproven: str = "",
) -> EndedOutput:
    """Find the output of an ended run.

    Args:
        result: of the run. Anybody with push rights may have written it: only its id, as requested,
            and a well-formed blob hash are used to find the run.
        scheduler: opens the engine, which may have kept the run's logs.
        settings: name the retention.
        since: seconds since the epoch; of a full log, only what was written then or later.
        kept: fetches what the ops repository keeps, which has no times; None if that is nothing.
        unproven: why that is not shown, in words.

    Raises:
        TimesNotKept: there is a full log, but the times of its lines are unknown.
    """
    engine = registry.get(settings.scheduler)
    reason, first = engine.no_kept_output(settings), None
    chunks: Iterator[LogChunk] = iter(())
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", result.blob):
        key = RunKey(action_id=result.id, blob=result.blob)
        try:
            claim = Claim(key=key, phase=Phase.ENDED, commit=result.commit)
            runs = scheduler()
            offsets = {} if since is None else runs.offsets_since(claim, since)
            chunks = runs.logs(claim, offsets=offsets)
            first = next(chunks, None)
            if first is None and any(offsets.values()):
                return EndedOutput(chunks=chunks, source=engine.kept_output(settings))
        except TimesNotKept:
            raise
        except DisintoError as error:
            reason = f"the engine is unavailable: {error.what}"
        if first is not None:
            return EndedOutput(chunks=chain([first], chunks), source=engine.kept_output(settings))
    if kept is not None and since is None:
        output = from_repository(result, kept, unproven=unproven)
        if output.chunks is not None:
            return output
        reason = f"{reason}; {output.source}"
    end = f"the last {LOGS_LIMIT:,} characters of both streams" if result.logs else "no output"
    return EndedOutput(
        chunks=None, source=f"from the result of {result.timestamp}: {end}; no full log: {reason}"
    )


def from_repository(
    result: Result, kept: Callable[[], Iterator[LogChunk]], *, unproven: str = ""
) -> EndedOutput:
    """The output that the ops repository keeps; without ``chunks``, why it cannot be shown.

    Args:
        kept: fetches it.
        unproven: why it may not be shown, in words.
    """
    output = result.output
    if output is None:
        return EndedOutput(chunks=None, source="the ops repository keeps none")
    if not output.month:
        return EndedOutput(chunks=None, source=f"the ops repository keeps none: {output.missing}")
    where = f"refs/disinto/logs/{output.month} of the ops repository"
    if unproven:
        return EndedOutput(chunks=None, source=f"what {where} has is not shown: {unproven}")
    try:
        chunks = kept()
        first = next(chunks, None)
    except DisintoError as error:
        return EndedOutput(chunks=None, source=f"not from {where}: {error.what}")
    omitted = sum(stream.omitted for _, stream in output.streams())
    cut = f"; {omitted:,} bytes in the middle were not kept" if omitted else ""
    return EndedOutput(
        chunks=chain([] if first is None else [first], chunks), source=f"from {where}{cut}"
    )
