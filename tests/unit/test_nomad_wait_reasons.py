"""How often Nomad is asked why runs wait: its answer grows with their number."""

from __future__ import annotations

from typing import Any, cast

from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.wait_reasons import LONGEST_PAUSE_S, PAUSE, WaitReasons

CHILD = "disinto-runner/dispatch-x-1-aaaaaaaa"
BLOCKED = {
    "JobID": CHILD,
    "Status": "blocked",
    "FailedTGAllocs": {"run": {"NodesEvaluated": 1}},
}


class Nomad:
    """Blocked evaluations; each answer takes some time."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.now = 1_000.0
        self.asked = 0

    def evaluations_where(self, _expression: str) -> list[dict[str, Any]]:
        self.asked += 1
        self.now += self.takes_s
        return [BLOCKED]


def asked_in_a_minute(*, takes_s: float) -> int:
    """Queries while new runs wait each second."""
    nomad = Nomad(takes_s)
    reasons = WaitReasons(cast(NomadApi, nomad), prefix="disinto-runner", clock=lambda: nomad.now)
    end = nomad.now + 60
    while nomad.now < end:
        reasons.of({CHILD, f"new-{nomad.now}"})
        nomad.now += 1
    return nomad.asked


def test_an_answer_that_takes_milliseconds_is_fetched_each_second() -> None:
    assert asked_in_a_minute(takes_s=0.001) > 50


def test_an_answer_that_takes_long_is_fetched_rarely() -> None:
    assert asked_in_a_minute(takes_s=0.2) <= 60 / (0.2 * PAUSE) + 1
    assert asked_in_a_minute(takes_s=5.0) >= 60 / (LONGEST_PAUSE_S + 6)


def test_the_reason_is_known_at_the_first_question() -> None:
    nomad = Nomad(0.001)
    reasons = WaitReasons(cast(NomadApi, nomad), prefix="disinto-runner", clock=lambda: nomad.now)
    assert "1 node evaluated" in reasons.of({CHILD})[CHILD]
