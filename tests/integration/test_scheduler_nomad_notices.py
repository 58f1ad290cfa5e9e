"""Runners on a real Nomad say themselves that they have ended, before Nomad does; and what a short run costs."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dispatcher.listener.app import App
from dispatcher.listener.serving import Listener
from dispatcher.model.health import Health
from dispatcher.model.run import RunState
from dispatcher.status.metrics import Metrics
from tests.servers.grants import Minter
from tests.servers.nomad import Nomad
from tests.support.nomad_stage import NomadStage, nomad_stage

pytestmark = pytest.mark.needs("nomad", "bao")

Answers = queue.SimpleQueue[bool]


@pytest.fixture
def told(nomad: Nomad, minter: Minter) -> Iterator[tuple[NomadStage, Answers]]:
    """A stage whose runners reach a listener, and what the scheduler answered to each notice."""
    answers: Answers = queue.SimpleQueue()
    stages: list[NomadStage] = []

    def hear(notice: bytes) -> bool:
        heard = stages[0].scheduler.told(notice)
        answers.put(heard)
        return heard

    app = App(
        health=lambda: Health(leader=True, beat_at=0, started_at=0),
        metrics=Metrics(),
        wake=lambda: None,
        hook=None,
        ended=hear,
    )
    with ExitStack() as stack:
        listener = stack.enter_context(Listener(app, listen="127.0.0.1:0"))
        url = f"http://127.0.0.1:{listener.port}"
        stages.append(stack.enter_context(nomad_stage(nomad, minter, listener_url=url)))
        yield stages[0], answers


def test_the_outcome_is_read_as_soon_as_the_runner_says_so(
    told: tuple[NomadStage, Answers], minter: Minter
) -> None:
    stage, answers = told
    claim = stage.submit(minter.spec("#!/bin/bash\necho done\n"))
    assert answers.get(timeout=90)
    with stage.counted() as calls:
        seen = stage.observe(claim)
    assert seen is not None
    assert seen.state is RunState.ENDED
    assert seen.outcome is not None
    assert seen.outcome.short_output == {"stdout": "ZG9uZQo="}
    assert seen.engine.node
    (allocation,) = stage.api.allocations(claim.engine_id)
    assert seen.engine.alloc == allocation["ID"]
    assert calls["jobs.statuses"] == 0
    assert not stage.scheduler.told(b"{}")


def test_output_is_read_without_asking_where_it_is(
    told: tuple[NomadStage, Answers], minter: Minter
) -> None:
    stage, answers = told
    claim = stage.submit(minter.spec("#!/bin/bash\nseq 3000\n"))
    assert answers.get(timeout=90)
    seen = stage.end(claim)
    assert seen.outcome is not None
    assert not seen.outcome.short_output
    with stage.counted() as calls:
        assert stage.log(claim).startswith("1\n2\n")
    assert calls["job.allocations"] == 0
