"""The pace of pushes, and of asking the gates again."""

from __future__ import annotations

import pytest

from dispatcher.loop.result_writer import push_pace
from dispatcher.loop.token_bucket import TokenBucket

INTERVAL_S, AT_ONCE = 0.2, 2


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def do(pace: TokenBucket, clock: Clock, *, took_s: float) -> None:
    pace.began()
    clock.now += took_s
    pace.ended()


def test_after_a_rest_some_follow_each_other_and_then_keep_a_distance() -> None:
    clock = Clock()
    pace = TokenBucket(interval_s=INTERVAL_S, at_once=AT_ONCE, clock=clock)
    for _ in range(AT_ONCE):
        assert pace.pause_s() == 0
        do(pace, clock, took_s=0.05)
    assert 0 < pace.pause_s() < INTERVAL_S
    # The time that one takes is not a pause: meanwhile no further one is earned.
    for _ in range(5):
        clock.now += pace.pause_s()
        do(pace, clock, took_s=1.0)
        assert pace.pause_s() == pytest.approx(INTERVAL_S)
    clock.now += AT_ONCE * INTERVAL_S
    assert pace.pause_s() == 0


def test_what_was_done_without_being_due_costs_no_more_than_one_distance() -> None:
    """A batch of results that one of its entries spoils is split, and what is full does not wait."""
    clock = Clock()
    pace = TokenBucket(interval_s=INTERVAL_S, at_once=AT_ONCE, clock=clock)
    for _ in range(100):
        do(pace, clock, took_s=0.0)
    assert pace.pause_s() == pytest.approx(INTERVAL_S)


@pytest.mark.parametrize(("took_s", "distance_s"), [(0.01, 0.2), (0.1, 0.4), (3.0, 0.5)])
def test_pushes_that_take_long_keep_a_longer_distance_up_to_a_limit(
    took_s: float, distance_s: float
) -> None:
    clock = Clock()
    pace = push_pace(clock)
    for _ in range(4):
        do(pace, clock, took_s=took_s)
    assert pace.pause_s() == pytest.approx(distance_s)
    do(pace, clock, took_s=0.0)  # and as soon as one is quick again, the shorter
    assert pace.pause_s() == pytest.approx(INTERVAL_S)
