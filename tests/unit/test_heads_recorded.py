"""Heads that brought nothing but results are recorded together; no claim is released before that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.loop import heads as module
from dispatcher.loop.heads import RECORD_EVERY_S, Heads
from dispatcher.loop.tombstones import NOTE
from dispatcher.status.tracker import Silent
from tests.fakes.branch import MemoryClone, MemoryRemote
from tests.fakes.components_in_memory import Components, Key, View
from tests.fakes.outside import MemoryEngine, MemoryLedger, MemoryVault


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class AtOnce:
    """Pollers that ask as soon as they are told to."""

    def free(self, *_: object) -> bool:
        return True

    def run(
        self,
        _dependency: object,
        ask: Callable[[], Any],
        learn: Callable[[Any], None],
        **_: object,
    ) -> None:
        learn(ask())


class Scene:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.remote = MemoryRemote()
        self.clone = MemoryClone(self.remote)
        self.ledger = MemoryLedger()
        components: Any = Components(
            ledger=self.ledger,
            grants=MemoryVault(),
            scheduler=MemoryEngine(),
            repo=self.clone,
            key=Key(lambda _facts: None),
        )
        view: Any = View(self.clone)
        pollers: Any = AtOnce()
        self.heads = Heads(
            components,
            view,
            pollers=pollers,
            tracker=Silent(),
            led=lambda: None,
            know=lambda _claim: None,
            arrived=lambda _changes, _first: None,
        )
        self.follow(self.remote.head)

    def follow(self, head: str) -> str:
        self.clone.fetch()
        self.heads.look()
        return head

    def result(self, action_id: str) -> str:
        """A result comes with a new head."""
        return self.follow(self.remote.push(results={**self.remote.now.results, action_id: b"{}"}))

    @property
    def recorded(self) -> str:
        return self.ledger.notes[NOTE].text


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    scene = Scene(clock)
    clock.now += RECORD_EVERY_S
    return scene


def test_after_a_rest_a_head_is_recorded_at_once(scene: Scene) -> None:
    assert scene.result("x") == scene.recorded
    assert not scene.heads.unrecorded("x")
    assert not scene.heads.pending


def test_those_that_follow_are_recorded_together(scene: Scene) -> None:
    first = scene.result("x")
    scene.result("y")
    last = scene.result("z")
    assert scene.recorded == first
    assert [scene.heads.unrecorded(i) for i in "xyz"] == [False, True, True]
    assert scene.heads.pending
    assert not scene.heads.in_doubt, "it is known which ids are used"
    assert scene.heads.next_try_in() == pytest.approx(RECORD_EVERY_S)
    scene.clock.now += RECORD_EVERY_S
    scene.heads.go_on()
    assert scene.recorded == last
    assert not any(scene.heads.unrecorded(i) for i in "xyz")
    assert scene.heads.next_try_in() is None


def test_what_vanished_is_recorded_at_once(scene: Scene) -> None:
    scene.result("x")
    scene.result("y")
    gone = scene.follow(scene.remote.push(results={}))
    assert scene.recorded == gone
    assert set(scene.ledger.claims) == {"x", "y"}
