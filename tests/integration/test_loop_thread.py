"""The loop's thread never waits: not on the network, and on no lock that a network call may hold.

Nothing here measures time. Every adapter notes which thread calls it; and while something hangs for
as long as the test wants, the loop must still carry other events through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.run import Phase
from dispatcher.service.parts import Parts
from tests.servers.bao import Bao
from tests.stage import Stage, action, eventually, path, set_stage


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server)
    yield stage
    stage.stop()


class Gate:
    """A call that hangs until the test lets it go."""

    def __init__(
        self, call: Callable[..., Any], *, when: Callable[[], bool] = lambda: True
    ) -> None:
        self._call, self._when = call, when
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._when():
            self.reached.set()
            assert self.go.wait(60)
        return self._call(*args, **kwargs)


class Laid:
    """An adapter with some of its methods replaced."""

    def __init__(self, inner: Any, **methods: Callable[..., Any]) -> None:
        self._inner, self._methods = inner, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


def goes_on(stage: Stage) -> None:
    """The loop hears that a run has ended, and concludes it: it is not stuck."""
    key = stage.scheduler.running()[0]
    stage.scheduler.end(key)

    @eventually
    def concluded() -> None:
        last = stage.watch.last
        assert last is not None
        claim = last.claims.get(key.action_id)
        assert claim is not None
        assert claim.phase is Phase.ENDED

    concluded()


def test_files_that_cannot_be_read_yet_do_not_stop_the_loop(stage: Stage) -> None:
    """New actions wait for their contents; what runs goes on."""
    gates: list[Gate] = []
    armed = threading.Event()

    def change(parts: Parts) -> Parts:
        gates.append(Gate(parts.repo.read, when=armed.is_set))
        return replace(parts, repo=Laid(parts.repo, read=gates[-1]))

    stage.change = change
    stage.scene.merge({path("runs"): action("runs")}, "Add one")
    service = stage.start()
    stage.runs(1)
    armed.set()
    stage.scene.merge({path("late"): action("late")}, "Add another")
    service.look_now()
    try:
        assert gates[-1].reached.wait(20)
        goes_on(stage)
        last = stage.watch.last
        assert last is not None
        assert "late" in {wait.action_id for wait in last.plan.waits}
    finally:
        gates[-1].go.set()
    stage.runs(1)
