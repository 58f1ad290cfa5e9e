"""The pace of rounds: a few in a row at once, and under load a small share of the time."""

from __future__ import annotations

import pytest

from dispatcher.loop.round_pace import AT_ONCE_S, LONGEST_S, SHARE, RoundPace

ROUND_S = 0.002


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_s(pace: RoundPace, clock: Clock, took_s: float) -> float:
    """How long more events are waited for after a round."""
    clock.now += took_s
    return pace.decided(took_s) - clock.now


def test_the_rounds_of_one_action_wait_for_nothing() -> None:
    clock = Clock()
    pace = RoundPace(clock=clock)
    for _ in range(2):
        assert [wait_s(pace, clock, ROUND_S) for _ in range(20)] == pytest.approx([0.0] * 20)
        clock.now += 1.0  # a rest, after which as many are free again


def test_rounds_without_a_rest_take_their_share_of_the_time() -> None:
    clock = Clock()
    pace = RoundPace(clock=clock)
    began, decided_s = clock.now, 0.0
    for _ in range(1_000):
        clock.now += wait_s(pace, clock, ROUND_S)
        decided_s += ROUND_S
    assert decided_s <= SHARE * (clock.now - began) + AT_ONCE_S + ROUND_S
    assert decided_s >= 0.9 * SHARE * (clock.now - began)


def test_no_wait_is_longer_than_the_longest_and_none_is_made_up_for() -> None:
    clock = Clock()
    pace = RoundPace(clock=clock)
    assert wait_s(pace, clock, 60.0) == pytest.approx(LONGEST_S)
    clock.now += LONGEST_S
    assert wait_s(pace, clock, ROUND_S) == pytest.approx(ROUND_S / SHARE - ROUND_S)
