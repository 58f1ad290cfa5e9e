"""What events of Nomad mean for the loop: which run of ours they are about, and what they say of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dispatcher.engines.nomad.api import Allocation, Event

CHANGES_WAIT_S = 0.3
"""Seconds for which changes other than ends are collected before the runs are observed."""

RAN_TO_ITS_END = frozenset({"complete", "failed"})
"""``ClientStatus`` of allocations whose client says that their tasks have ended."""

_OPEN = frozenset({"pending", "running"})


class Coalesced:
    """Calls a function some time after it was asked to, once for all that asked meanwhile."""

    def __init__(self, call: Callable[[], None], *, after_s: float) -> None:
        self._call, self._after_s = call, after_s
        self._lock = threading.Lock()
        self._asked = False

    def __call__(self) -> None:
        with self._lock:
            if self._asked:
                return
            self._asked = True
        timer = threading.Timer(self._after_s, self._fire)
        timer.daemon = True
        timer.start()

    def _fire(self) -> None:
        with self._lock:
            self._asked = False
        self._call()


def allocation_of(event: Event) -> Allocation | None:
    """The allocation of an event; None for an event about something else."""
    allocation: Allocation | None = event.payload.get("Allocation")
    return allocation if allocation and allocation.get("ID") else None


def ended_allocation(event: Event) -> Allocation | None:
    """The allocation of an event that says that it ended on its client; None for any other event."""
    allocation = allocation_of(event)
    if allocation and allocation.get("ClientStatus") in RAN_TO_ITS_END:
        return allocation
    return None


def open_allocation(event: Event) -> Allocation | None:
    """The allocation of an event that says that it is about to run or runs; None for any other event."""
    allocation = allocation_of(event)
    if allocation is None or allocation.get("DesiredStatus") != "run":
        return None
    return allocation if allocation.get("ClientStatus") in _OPEN else None


def child_of(event: Event, prefix: str) -> str:
    """The dispatched job that an event is about, if it is one of our runs; else ""."""
    names = (event.key, *event.filter_keys)
    ours = (name for name in names if name.startswith(prefix) and "/dispatch-" in name)
    return next(ours, "")
