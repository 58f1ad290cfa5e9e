"""What an engine keeps of runs that no claim names."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.engines.local.spool import Spool
from dispatcher.loop.components import Components
from dispatcher.model.run import Claim, RunKey
from tests.support.stage import Stage, action, eventually, path

pytestmark = pytest.mark.needs("bao")


def spool(stage: Stage, action_id: str) -> Spool:
    """A folder of a run that has begun, and that no claim names."""
    runs = stage.components.settings.state_dir / "runs"
    made = Spool(runs, RunKey(action_id=action_id, blob="f" * 40))
    made.path.mkdir(parents=True)
    for name in ("lock", "started", "stdout.log"):
        (made.path / name).write_text("x")
    return made


def test_they_are_forgotten_once_their_result_is_in_git(stage: Stage) -> None:
    stage.scene.merge({path("done"): action("done")}, "Ask")
    stage.once()
    over, unknown, held = (spool(stage, i) for i in ("done", "never-heard-of", "held"))
    stage.scene.merge({path("held"): action("held", formula="danger")}, "Ask")
    looked = threading.Event()

    class Watched(LocalScheduler):
        def kept(self) -> list[RunKey]:
            try:
                return list(super().kept())
            finally:
                looked.set()

    def change(components: Components) -> Components:
        return replace(components, scheduler=Watched(components.settings, wake=components.wake))

    stage.change = change
    stage.start()

    @eventually
    def forgotten() -> None:
        assert not over.exists()

    assert looked.wait(20)
    forgotten()
    # What is left of these is what prevents a second start.
    assert unknown.exists()
    assert held.exists()
    kept = stage.components.settings.state_dir / "logs" / f"{over.token}.stdout.log"
    assert kept.read_text() == "x"


def test_a_running_one_is_left_alone(stage: Stage) -> None:
    stage.scene.merge({path("done"): action("done")}, "Ask")
    stage.once()
    over = spool(stage, "done")
    lock = over.hold()
    assert lock is not None
    forgets = threading.Event()

    class Watched(LocalScheduler):
        def forget(self, claim: Claim) -> None:
            super().forget(claim)
            forgets.set()

    scheduler = Watched(stage.components.settings)
    assert [key.action_id for key in scheduler.kept()] == ["done"]
    stage.change = lambda components: replace(components, scheduler=scheduler)
    stage.start()
    assert forgets.wait(20)
    assert over.exists()
