"""Reads of what newly ended runs left, beside each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dispatcher.engines.nomad import reads as reads_module
from dispatcher.engines.nomad.job_status import KIND, observation
from dispatcher.engines.nomad.reads import Reads
from dispatcher.model.run import Observation, Placement, RunState

RUNNING, ENDED = (
    observation(state, Placement(kind=KIND, job="a"))
    for state in (RunState.RUNNING, RunState.ENDED)
)


@pytest.fixture
def late() -> threading.Event:
    return threading.Event()


@pytest.fixture
def reads(late: threading.Event) -> Iterator[Reads]:
    made = Reads(clock=lambda: 1_000.0, late=late.set)
    yield made
    made.close()


@pytest.mark.parametrize("outdated", [True, False])
def test_what_a_slow_read_missed_is_read_at_once(
    reads: Reads, late: threading.Event, monkeypatch: pytest.MonkeyPatch, outdated: bool
) -> None:
    began, answered = threading.Event(), threading.Event()

    def slow() -> Observation:
        began.set()
        assert answered.wait(10)
        return RUNNING

    monkeypatch.setattr(reads_module, "PATIENCE_S", 0.0)
    assert reads.results({"a": slow}) == {}
    assert began.wait(10)
    if outdated:
        reads.retry("a")
    answered.set()
    assert late.wait(10)
    late.clear()
    assert reads.results({"a": slow}) == {"a": RUNNING}
    assert late.is_set() is outdated
    monkeypatch.setattr(reads_module, "PATIENCE_S", 10.0)
    again = reads.results({"a": lambda: ENDED})
    assert again == {"a": ENDED if outdated else RUNNING}, "without a pause only if it is known"
