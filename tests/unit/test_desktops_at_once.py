"""Many runs share the limits of one account: each is made once and in the end, and they spread out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from dispatcher.desktop.cloud import CloudBusy, CloudUnclear
from dispatcher.provision.waiting import LONGEST_PAUSE_S, Pace, patiently
from tests.servers.cloud import FakeCloud
from tests.support.desktops import FakeClock
from tests.support.many_desktops import Crowd

MANY = 100


def account(*, ip_after_s: float = 30.0) -> FakeCloud:
    """With half the provider's limits, for half of two hundred."""
    return FakeCloud(
        limit=MANY, active_after_s=ip_after_s + 5, ip_after_s=ip_after_s, listed_after_s=5,
        gone_after_s=15, per_minute=125, per_hour=2_500,
    )  # fmt: skip


@pytest.mark.parametrize("ip_after_s", [30.0, 400.0])
def test_all_are_made_and_destroyed_within_the_limits(ip_after_s: float) -> None:
    crowd = Crowd(account(ip_after_s=ip_after_s))
    assert crowd.create(MANY) == []
    assert crowd.cloud.refused > 0
    assert crowd.cloud.created == len(crowd.cloud.running()) == MANY
    assert crowd.destroy(MANY) == []
    assert crowd.cloud.running() == []


def test_those_who_were_refused_together_do_not_come_back_together() -> None:
    crowd = Crowd(account())
    assert crowd.create(MANY) == []
    later = [round(at) for at in crowd.cloud.times if at > crowd.cloud.times[0] + 30]
    assert len(later) > MANY
    assert max(Counter(later).values()) < MANY / 4


def test_requests_are_saved_when_less_than_half_of_the_hours_are_left() -> None:
    roomy, tight = pace(left=0.6), pace(left=0.1)
    assert 3.0 < roomy.pause_s(5.0) < 7.0
    assert tight.pause_s(5.0) > 15.0
    assert pace(left=0.0).pause_s(5.0) <= 1.25 * LONGEST_PAUSE_S


def test_pauses_grow_while_it_fails_and_shrink_again() -> None:
    slow = pace()
    for _ in range(10):
        slow.failed(CloudUnclear("no answer"))
    assert 40.0 < slow.pause_s(5.0) <= 1.25 * LONGEST_PAUSE_S
    for _ in range(20):
        slow.answered()
    assert slow.pause_s(5.0) < 7.0


def test_what_the_provider_wants_is_a_minimum_and_no_two_pauses_are_the_same() -> None:
    held = pace()
    held.failed(CloudBusy("slow down", retry_after_s=40.0))
    pauses = [held.pause_s(3.0) for _ in range(20)]
    assert min(pauses) >= 40.0
    assert len(set(pauses)) == 20
    assert held.pause_s(3.0, longest_s=10.0) < 40.0 + 120.0


def test_waiting_as_the_provider_wants_does_not_use_up_patience() -> None:
    waiting = pace()
    answers = iter([CloudBusy("slow down", retry_after_s=200.0)] * 5)

    def call() -> str:
        for error in answers:
            raise error
        return "done"

    assert patiently(call, waiting) == "done"


def test_why_a_run_waits_is_said_once() -> None:
    said: list[str] = []
    waiting = Pace(Known(left=None), FakeClock(), said.append)  # type: ignore[arg-type]
    for _ in range(3):
        waiting.failed(CloudBusy("the rate limit is reached", retry_after_s=5.0))
    waiting.answered()
    waiting.failed(CloudUnclear("no answer"))
    assert said == ["the rate limit is reached; waiting", "no answer; waiting"]


@dataclass(kw_only=True)
class Known:
    """A provider that says what is left."""

    left: float | None

    @property
    def requests_left(self) -> float | None:
        return self.left


def pace(*, left: float | None = None) -> Pace:
    return Pace(Known(left=left), FakeClock(), lambda _: None)  # type: ignore[arg-type]
