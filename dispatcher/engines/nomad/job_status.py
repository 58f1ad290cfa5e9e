"""Interpretation of one entry of Nomad's list of job statuses. Pure."""

from __future__ import annotations

from dispatcher.engines.nomad import verdicts
from dispatcher.engines.nomad.api import JobStatus
from dispatcher.model.run import Observation, Outcome, Placement, RunState

KIND = "nomad"
"""``Placement.kind`` of all these runs."""

VANISHED = frozenset({"lost", "unknown"})
"""``ClientStatus`` of allocations whose node does not answer."""


def client_states(status: JobStatus) -> set[str]:
    """``ClientStatus`` of each allocation of the job."""
    return {allocation.get("ClientStatus", "") for allocation in status.get("Allocs") or []}


def is_over(status: JobStatus) -> bool:
    """The job has ended in Nomad, and its allocations on every client.

    A job that was stopped is ``dead`` at once, while its task may still be running. One that was
    stopped on a node that does not answer stays ``pending`` until it answers.
    """
    states = client_states(status)
    if status.get("Stop") and states & VANISHED:
        return states <= verdicts.CLIENT_ENDED | VANISHED
    return status.get("Status") == "dead" and states <= verdicts.CLIENT_ENDED


def seconds(nanoseconds: int | None) -> float:
    """Nomad's nanoseconds as seconds since the epoch; 0.0 for none."""
    return (nanoseconds or 0) / 1e9


def observation(
    state: RunState,
    engine: Placement,
    *,
    outcome: Outcome | None = None,
    reason: str = "",
    since: float = 0.0,
    reported: bool = True,
) -> Observation:
    """An observation of the run whose job ``engine`` names; see ``Observation``."""
    return Observation(
        state=state,
        engine_id=engine.job,
        engine=engine,
        outcome=outcome,
        reason=reason,
        since=since,
        reported=reported,
    )
