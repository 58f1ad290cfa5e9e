"""What one entry of Nomad's list of job statuses says of a run. Pure."""

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
    """Nomad is done with the job, and every client with its part of it.

    A job that was stopped is ``dead`` at once, while its task may still be running. One that was
    stopped on a node that does not answer stays ``pending`` for as long as it does not.
    """
    states = client_states(status)
    if status.get("Stop") and states & VANISHED:
        return states <= verdicts.CLIENT_ENDED | VANISHED
    return status.get("Status") == "dead" and states <= verdicts.CLIENT_ENDED


def seconds(nanoseconds: int | None) -> float:
    """Seconds since the epoch of one of Nomad's numbers; 0.0 for none."""
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
