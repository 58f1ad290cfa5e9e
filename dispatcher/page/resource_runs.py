"""The runs that make, change and remove what a provisioner makes: how far they are, and which made nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from dispatcher.errors import InvalidInput
from dispatcher.model.result import Result
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.files import read_result
from dispatcher.page.index_queries import Filter
from dispatcher.page.resource_reading import ResourceReading
from dispatcher.status.overview import OpenAction, State

FAILED = "FAILED"
"""State of what a run made nothing of."""

ABANDONED = "ABANDONED"
"""State of what a run was killed at that may have left something."""

FAILURES_S = 86_400.0
"""Seconds for which a run that made nothing is listed."""

MOST_FAILURES = 5

UNSUCCESSFUL = tuple(verdict.value for verdict in Verdict if not verdict.success)

PART, MOST_READ = 50, 1_000
"""Runs that are looked at, at a time and in all."""

SAID_LIMIT = 1_000
"""Characters of a failed run's output that are shown: as many as a result has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSeen:
    """How far the run of an open action is.

    Attributes:
        runs: whether it has begun.
        waits: what the action waits for, in words; "" while it runs, or if nothing is known.
        stage, percent, detail: what it last reported; "" and None if nothing is known.
    """

    runs: bool = False
    waits: str = ""
    stage: str = ""
    percent: float | None = None
    detail: str = ""


def run_seen(row: OpenAction | None) -> RunSeen:
    """How far a run is.

    Args:
        row: of the status file; None if no dispatcher runs here, or it does not know the action.
    """
    if row is None:
        return RunSeen()
    if row.state is not State.RUNNING and row.state is not State.ENDED:
        return RunSeen(waits=row.reason or row.state.value)
    progress = row.progress or {}
    percent = progress.get("percent")
    return RunSeen(
        runs=True,
        stage=str(progress.get("stage") or ""),
        percent=float(percent) if isinstance(percent, int | float) else None,
        detail=str(progress.get("detail") or ""),
    )


def failure(reading: ResourceReading[Any], action_id: str) -> Result | None:
    """The result of an action that was to make something and made nothing; None for anything else."""
    try:
        result = read_result(reading.live.repo, reading.tree, action_id)
    except InvalidInput:
        return None
    if result is None or result.verdict.success or result.inventory is not None:
        return None
    formula = result.formula.name if result.formula is not None else ""
    return result if formula == reading.resources.kind.create else None


def failures(
    reading: ResourceReading[Any], known: Collection[str], *, now: float
) -> Iterator[tuple[str, Result]]:
    """The ids and results of the last day that made nothing, the newest first.

    Args:
        known: ids that are left out.
    """
    for action_id in _unsuccessful(reading, since=now - FAILURES_S):
        result = None if action_id in known else failure(reading, action_id)
        if result is not None:
            yield action_id, result


def _unsuccessful(reading: ResourceReading[Any], *, since: float) -> Iterator[str]:
    """Ids of runs of the formula that ended without success, the newest first: those that succeeded must not
    hide one that failed.
    """
    wanted = Filter(formula=reading.resources.kind.create, verdicts=UNSUCCESSFUL)
    before: tuple[float, str] | None = None
    for _ in range(MOST_READ // PART):
        rows = reading.live.index.runs(wanted, before=before, count=PART)
        for row in rows:
            if row.at <= since:
                return
            yield row.id
        if len(rows) < PART:
            return
        before = (rows[-1].at, rows[-1].id)
