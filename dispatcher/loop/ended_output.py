"""The output of a run that has ended: from the fullest source that still has it.

In this order: what the engine kept (the local engine's files in the state directory, a finished job
in Nomad), then the end of the output in the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from dispatcher.engines.base import LogChunk, Scheduler, TimesNotKept
from dispatcher.errors import DisintoError
from dispatcher.model.result import LOGS_LIMIT, Result
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.settings import SchedulerKind, Settings


@dataclass(frozen=True, kw_only=True)
class EndedOutput:
    """What there is of a run's output.

    Attributes:
        chunks: both streams, redacted; None if only the result has some of it.
        source: where the output comes from, and what is missing; for people.
    """

    chunks: Iterator[LogChunk] | None
    source: str


def ended_output(
    result: Result,
    scheduler: Callable[[], Scheduler],
    settings: Settings,
    *,
    since: float | None = None,
) -> EndedOutput:
    """Look for the output of an ended run.

    Args:
        result: of the run. Whoever may push can have written it: only its id, as it was asked for,
            and a well-formed blob hash are used to find the run.
        scheduler: opens the engine, which may have kept the run's logs.
        settings: name the retention.
        since: seconds since the epoch; of a full log, only what was written then or later.

    Raises:
        TimesNotKept: there is a full log, and nothing tells when it was written.
    """
    why, first = _not_kept(settings), None
    chunks: Iterator[LogChunk] = iter(())
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", result.blob):
        key = RunKey(action_id=result.id, blob=result.blob)
        try:
            claim, engine = Claim(key=key, phase=Phase.ENDED, commit=result.commit), scheduler()
            offsets = {} if since is None else engine.offsets_since(claim, since)
            chunks = engine.logs(claim, offsets=offsets)
            first = next(chunks, None)
            if first is None and any(offsets.values()):
                return EndedOutput(chunks=chunks, source=kept_by_engine(settings))
        except TimesNotKept:
            raise
        except DisintoError as error:
            why = f"the engine cannot be asked: {error.what}"
        if first is not None:
            return EndedOutput(chunks=chain([first], chunks), source=kept_by_engine(settings))
    end = f"the last {LOGS_LIMIT:,} characters of both streams" if result.logs else "no output"
    return EndedOutput(
        chunks=None, source=f"from the result of {result.timestamp}: {end}; no full log: {why}"
    )


def kept_by_engine(settings: Settings) -> str:
    """Where an engine that has kept the output of an ended run has it, for people."""
    if settings.scheduler is SchedulerKind.NOMAD:
        nomad = settings.nomad
        return (
            "from Nomad, which still has the finished job ([nomad] keep_finished_s = "
            f"{nomad.keep_finished_s:g}); complete up to {nomad.log_files} files of "
            f"{nomad.log_file_mb} MiB per stream"
        )
    local = settings.local
    return (
        f"from {settings.state_dir / 'logs'}, the full log ([local] keep_logs_s = "
        f"{local.keep_logs_s:g}); complete up to {local.log_limit_mb} MiB per stream"
    )


def _not_kept(settings: Settings) -> str:
    if settings.scheduler is SchedulerKind.NOMAD:
        kept_s = settings.nomad.keep_finished_s
        return f"Nomad has no job of this run any more ([nomad] keep_finished_s = {kept_s:g})"
    local = settings.local
    return (
        f"{settings.state_dir / 'logs'} has none; it is kept on the dispatcher's host for "
        f"{local.keep_logs_s:g} s ([local] keep_logs_s), and not at all if the run wrote nothing"
    )
