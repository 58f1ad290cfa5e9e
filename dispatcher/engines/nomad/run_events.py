"""What events of Nomad say of our runs. Pure."""

from __future__ import annotations

from dispatcher.engines.nomad.api import Allocation, Event

RAN_TO_ITS_END = frozenset({"complete", "failed"})
"""``ClientStatus`` of allocations whose client says that their tasks have ended."""

_OPEN = frozenset({"pending", "running"})

_FOLLOWING = frozenset({"JobRegistered", "PlanResult", "AllocationUpdated"})
"""Types of events, which name the request that changed something (``nomad/state/events.go``)."""


def _allocation_of(event: Event) -> Allocation | None:
    """The allocation of an event; None for an event about something else."""
    allocation: Allocation | None = event.payload.get("Allocation")
    return allocation if allocation and allocation.get("ID") else None


def ended_allocation(event: Event) -> Allocation | None:
    """The allocation of an event that says that it ended on its client; None for any other event."""
    allocation = _allocation_of(event)
    if allocation and allocation.get("ClientStatus") in RAN_TO_ITS_END:
        return allocation
    return None


def open_allocation(event: Event) -> Allocation | None:
    """The allocation of an event that says that it is about to run or runs; None for any other event."""
    allocation = _allocation_of(event)
    if allocation is None or allocation.get("DesiredStatus") != "run":
        return None
    return allocation if allocation.get("ClientStatus") in _OPEN else None


def only_follows(event: Event) -> bool:
    """Whether an event about a job only follows from what we did, or from what became of its allocations, of which
    events with the same index tell. A job that was purged is still said to run, so its status does not decide.
    """
    return event.topic == "Job" and event.type in _FOLLOWING


def child_of(event: Event, prefix: str) -> str:
    """The dispatched job that an event is about, if it is one of our runs; else ""."""
    names = (event.key, *event.filter_keys)
    ours = (name for name in names if name.startswith(prefix) and "/dispatch-" in name)
    return next(ours, "")
