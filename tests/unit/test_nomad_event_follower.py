"""What the observer is told of Nomad's events."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dispatcher.engines.nomad.api import Event, Resync
from dispatcher.engines.nomad.event_follower import EventFollower
from dispatcher.errors import Denied, Dependency
from tests.support.observed_nomad import ONE, PREFIX, event


class Stream:
    """Some items, after which the stream ends as ``last`` says."""

    def __init__(self, items: Iterable[object], last: Exception | None) -> None:
        self._items, self._last = items, last
        self.over, self.closed = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[object]:
        yield from self._items
        self.over.set()
        if self._last is not None:
            raise self._last

    def close(self) -> None:
        self.closed.set()


class Told:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def allocation_ended(self, each: Any) -> None:
        self.calls.append(f"ended {each['ID']}")

    def allocation_placed(self, each: Any) -> None:
        self.calls.append(f"placed {each['ClientStatus']}")

    def changed(self, child: str) -> None:
        self.calls.append(f"changed {child}")

    def doubt(self) -> None:
        self.calls.append("doubt")


def job_event(kind: str) -> Event:
    return Event(
        topic="Job",
        type=kind,
        key=ONE.engine_id,
        filter_keys=(),
        index=1,
        payload={"Job": {"Status": "running", "Stop": False}},
    )


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (event("complete"), "ended one"),
        (event("failed"), "ended one"),
        (event("pending"), "placed pending"),
        (event("running"), "placed running"),
        (event("running", desired="stop"), f"changed {ONE.engine_id}"),
        (event("lost"), f"changed {ONE.engine_id}"),
        (event("unknown"), f"changed {ONE.engine_id}"),
        (event("complete", job="another"), ""),
        (job_event("JobRegistered"), ""),
        (job_event("PlanResult"), ""),
        (job_event("AllocationUpdated"), ""),
        (job_event("JobDeregistered"), f"changed {ONE.engine_id}"),
        (job_event("JobBatchDeregistered"), f"changed {ONE.engine_id}"),
        (Resync(), "doubt"),
        (event(cast(Any, ["odd"])), "doubt"),
    ],
)
@pytest.mark.parametrize("last", [None, Denied(Dependency.SCHEDULER, "no")])
def test_each_event_is_passed_on(item: object, told: str, last: Exception | None) -> None:
    stream, observer, topics = Stream([item], last), Told(), list[list[str]]()

    def events(asked: list[str]) -> Stream:
        topics.append(asked)
        return stream

    woken: list[None] = []
    follower = EventFollower(
        cast(Any, SimpleNamespace(events=events)),
        cast(Any, observer),
        prefix=PREFIX,
        wake=lambda: woken.append(None),
    )
    follower.start()
    follower.start()
    assert stream.over.wait(10)
    follower.close()
    assert observer.calls == ([told] if told else [])
    assert len(woken) == (told == "doubt"), "the observer wakes by itself"
    assert topics == [["Allocation", "Job"]]
    assert stream.closed.is_set()
