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


class Paced:
    """Rounds whose times are given."""

    def __init__(self) -> None:
        self.clock, self._cpu_clock = Clock(), Clock()
        self._pace = RoundPace(clock=self.clock, cpu_clock=self._cpu_clock)

    def wait_s(self, took_s: float, *, waited_s: float = 0.0) -> float:
        """How long more events are waited for after a round that took this much CPU time, and waited for other
        threads.
        """
        self._pace.begin()
        self.clock.now += took_s + waited_s
        self._cpu_clock.now += took_s
        return self._pace.decided() - self.clock.now


@pytest.mark.parametrize("waited_s", [0.0, 0.5])
def test_the_rounds_of_one_action_wait_for_nothing(waited_s: float) -> None:
    paced, at_once = Paced(), int(AT_ONCE_S / ROUND_S)
    for _ in range(2):
        waits = [paced.wait_s(ROUND_S, waited_s=waited_s) for _ in range(at_once)]
        assert waits == pytest.approx([0.0] * at_once)
        paced.clock.now += AT_ONCE_S / SHARE  # a rest, after which as many are free again


def test_rounds_without_a_rest_take_their_share_of_the_time() -> None:
    paced = Paced()
    began, decided_s = paced.clock.now, 0.0
    for _ in range(1_000):
        paced.clock.now += paced.wait_s(ROUND_S)
        decided_s += ROUND_S
    assert decided_s <= SHARE * (paced.clock.now - began) + AT_ONCE_S + ROUND_S
    assert decided_s >= 0.9 * SHARE * (paced.clock.now - began)


def test_no_wait_is_longer_than_the_longest_and_none_is_made_up_for() -> None:
    paced = Paced()
    assert paced.wait_s(60.0) == pytest.approx(LONGEST_S)
    paced.clock.now += LONGEST_S
    assert paced.wait_s(ROUND_S) == pytest.approx(ROUND_S / SHARE - ROUND_S)
