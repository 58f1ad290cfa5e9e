"""A dispatcher of which one step is broken for one action, and another action beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.stage import Stage, action, eventually, path

BAD, GOOD = "bad", "good"


class Broken:
    """A function that raises for the bad action for as long as it is armed."""

    def __init__(
        self, call: Callable[..., Any], about: Callable[..., str], error: Exception
    ) -> None:
        self.call, self.about, self.error = call, about, error
        self.armed, self.hits = True, 0

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else lambda *a, **k: self(instance, *a, **k)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.armed and self.about(*args, **kwargs) == BAD:
            self.hits += 1
            raise self.error
        return self.call(*args, **kwargs)


def bring_about(stage: Stage, kind: str) -> None:
    """Whatever this kind needs beside a launched action."""
    if kind in ("Ask", "Reject", "Launch"):
        return

    @eventually
    def running() -> None:
        assert BAD in {key.action_id for key in stage.scheduler.running()}

    running()
    key = next(k for k in stage.scheduler.running() if k.action_id == BAD)
    if kind == "ResolveOrphan":
        stage.scheduler.lose(key)
    elif kind == "StopSuperseded":
        stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
        stage.scene.merge(
            {f"vault/actions/{BAD}.result.json": stage.signed_result(BAD)}, "As it was"
        )
    elif kind == "Cancel":
        stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
        blob = stage.scene.git("hash-object", f"vault/actions/{BAD}.toml")
        asked = f'id = "{BAD}"\nblob = "{blob}"\n'
        stage.scene.merge({f"vault/actions/{BAD}.cancel.toml": asked}, "Cancel it")
    elif kind == "Restore":
        stage.scheduler.end(key)
        stage.result(BAD)
        released(stage)
        stage.scene.remove(f"vault/actions/{BAD}.result.json")
    elif kind == "Inspect":
        stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
        stage.scene.merge({f"vault/actions/{BAD}.result.json": "{}"}, "Forge a result")
    else:
        stage.scheduler.end(key)


@eventually
def released(stage: Stage) -> None:
    """Its result is in git and remembered, so its claim is let go."""
    assert BAD not in {c.key.action_id for c in stage.components.ledger.open_runs()}


def the_other_one_ends(stage: Stage) -> None:
    @eventually
    def running() -> None:
        assert GOOD in {key.action_id for key in stage.scheduler.running()}

    running()
    key = next(k for k in stage.scheduler.running() if k.action_id == GOOD)
    stage.scheduler.end(key)
    assert stage.result(GOOD)["verdict"] == "succeeded"


def is_told(stage: Stage, error: Exception) -> None:
    """The bad one is shown with the error; it backs off, and no dependency is called down."""

    @eventually
    def told() -> None:
        last = stage.watch.last
        assert last is not None
        assert type(error).__name__ in last.failures[BAD]
        assert last.outages == {}

    told()
    defects = [facts for name, facts in stage.watch.events if name == "defect"]
    assert any(facts["error"] is error and facts.get("action", BAD) == BAD for facts in defects)


def goes_through(stage: Stage, broken: Broken) -> None:
    """Once the defect is gone, so is the trouble."""
    assert broken.hits
    broken.armed = False
    broken_ends(stage)


@eventually
def broken_ends(stage: Stage) -> None:
    for key in stage.scheduler.running():
        stage.scheduler.end(key)
    assert BAD in stage.scene.results()
    last = stage.watch.last
    assert last is not None
    assert BAD not in last.failures


def start_with(stage: Stage, bad: str) -> None:
    stage.scene.merge({path(BAD): bad, path(GOOD): action(GOOD)}, "Add two")
    stage.start()
