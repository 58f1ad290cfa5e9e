"""What events of Nomad mean for the loop: which concern a run of ours, which say that one has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dispatcher.engines.nomad.api import Allocation, Event

CHANGES_WAIT_S = 0.3
"""Seconds for which changes other than ends are collected before the runs are observed."""

RAN_TO_ITS_END = frozenset({"complete", "failed"})
"""``ClientStatus`` of allocations whose client says that their tasks have ended."""


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


def concerns(event: Event, prefix: str) -> bool:
    """Whether an event may mean that one of our runs ended, started or was stopped."""
    names = (event.key, *event.filter_keys)
    return any(name.startswith(prefix) and "/dispatch-" in name for name in names)
