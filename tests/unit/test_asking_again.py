"""How often the gates are asked again because a webhook or a person says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from dispatcher.loop.asking_again import AT_ONCE, EVERY_S, AskingAgain


@dataclass
class Asked:
    """Stands for view, components and gate; ``now`` for the clock."""

    now: float = 100.0
    invalidated: list[bool] = field(default_factory=list)
    dropped: list[bool] = field(default_factory=list)

    @property
    def components(self) -> Asked:
        return self

    @property
    def gate(self) -> Asked:
        return self

    def invalidate(self, *, keep_approvals: bool) -> None:
        self.invalidated.append(keep_approvals)

    def drop_answers(self, *, keep_approvals: bool) -> None:
        self.dropped.append(keep_approvals)


def begun() -> tuple[AskingAgain, Asked]:
    asked = Asked()
    return AskingAgain(cast(Any, asked), clock=lambda: asked.now), asked


def test_a_few_requests_are_followed_at_once() -> None:
    asking, asked = begun()
    assert asking.next_in() is None
    for keep_approvals in (True, True, False):
        asking.request(keep_approvals=keep_approvals)
    assert asked.dropped == asked.invalidated == [True, True, False]
    assert asking.next_in() is None


def test_of_many_the_gates_know_each_and_the_loop_drops_what_it_knows_now_and_then() -> None:
    asking, asked = begun()
    for number in range(100):
        asking.request(keep_approvals=number != 50)
    assert asked.invalidated.count(False) == 1
    assert len(asked.invalidated) == 100
    assert asked.dropped == [True] * AT_ONCE
    assert asking.next_in() == EVERY_S
    asked.now += EVERY_S
    asking.work()
    assert asked.dropped == [True] * AT_ONCE + [False], "a review among pushes is not lost"
    assert asking.next_in() is None
    asked.now += EVERY_S / 2
    asking.request(keep_approvals=True)
    assert len(asked.dropped) == AT_ONCE + 1
    asked.now += EVERY_S / 2
    asking.work()
    assert len(asked.dropped) == AT_ONCE + 2


def test_after_a_rest_requests_are_followed_at_once_again() -> None:
    asking, asked = begun()
    for _ in range(10):
        asking.request(keep_approvals=True)
    asked.now += 100 * EVERY_S
    for _ in range(10):
        asking.request(keep_approvals=True)
    assert len(asked.dropped) == 2 * AT_ONCE
