"""When months of kept output are removed: never because of one look at a clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dispatcher.loop.output_retention import INTERVAL_S, OutputRetention, oldest_kept
from dispatcher.loop.steady_clock import GAP_S, STEADY_S, ClockRecord

DAY_S = 86_400.0
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC).timestamp()
OLD, RECENT = ["2025-09", "2025-10"], ["2025-11", "2026-03", "2026-10", "2026-11"]


class Months:
    """Stands for the refs on the remote."""

    def __init__(self, months: list[str]) -> None:
        self.left = set(months)

    def months(self) -> dict[str, str]:
        return dict.fromkeys(self.left, "0" * 40)

    def remove(self, month: str) -> None:
        self.left.remove(month)


class AtOnce:
    """Runs a poller on the spot."""

    def free(self, *_of: object) -> bool:
        return True

    def run(
        self, _on: object, ask: Callable[[], Any], learn: Callable[[Any], None], **_more: object
    ) -> None:
        learn(ask())


class Serve:
    """One installation over months of passes.

    Attributes:
        now: what its clock shows.
    """

    def __init__(self, state: Path) -> None:
        self.months, self.events, self.now, self._state = Months(OLD + RECENT), [], NOW, state

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def restart(self) -> OutputRetention:
        refs: Any = self.months
        pollers: Any = AtOnce()
        tracker: Any = self
        return OutputRetention(
            refs,
            pollers,
            tracker,
            led=lambda: None,
            keep_months=12,
            record=ClockRecord(self._state / "clock.json", boot=lambda: ("", 0.0)),
            clock=lambda: self.now,
        )

    def run(self, for_s: float) -> None:
        """A restart before each pass: it needs nothing of the process before."""
        end = self.now + for_s
        while self.now < end:
            self.restart().work()
            self.now += INTERVAL_S


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    return Serve(tmp_path)


def test_months_that_are_too_old_go_one_by_one_once_the_clock_has_been_steady(serve: Serve) -> None:
    serve.run(STEADY_S - INTERVAL_S)
    assert serve.months.left == {*OLD, *RECENT}
    serve.run(INTERVAL_S * 2)
    assert serve.months.left == {*OLD[1:], *RECENT}, "the oldest, and no more in a pass"
    serve.run(INTERVAL_S * 5)
    assert serve.months.left == {*RECENT}
    assert serve.events == [("output_removed", {"month": month}) for month in OLD]


@pytest.mark.parametrize("wrong_s", [400 * DAY_S, 5_000 * DAY_S, -400 * DAY_S])
@pytest.mark.parametrize("for_s", [INTERVAL_S, 2 * DAY_S])
def test_a_clock_that_jumps_for_a_while_removes_nothing(
    serve: Serve, wrong_s: float, for_s: float
) -> None:
    serve.months.left = {*RECENT}
    serve.run(STEADY_S * 2)
    serve.now += wrong_s
    serve.run(for_s)
    serve.now -= wrong_s
    serve.run(STEADY_S * 2)
    assert serve.months.left == {*RECENT}
    assert serve.events == []


def test_a_clock_that_is_wrong_when_serve_starts_removes_nothing_either(serve: Serve) -> None:
    serve.months.left = {*RECENT}
    serve.now += 400 * DAY_S
    serve.run(STEADY_S - INTERVAL_S)
    assert serve.months.left == {*RECENT}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"since": 0}', '{"since": 0, "seen": "x"}'])
def test_a_record_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "clock.json"
    path.write_text(text)
    assert ClockRecord(path, boot=lambda: ("", 0.0)).steady_for(NOW) == 0
    written = json.loads(path.read_text())
    assert (written["since"], written["seen"]) == (NOW, NOW)
    assert ClockRecord(path, boot=lambda: ("", 0.0)).steady_for(NOW + GAP_S) == GAP_S, (
        "down for a day"
    )
    assert ClockRecord(path, boot=lambda: ("", 0.0)).steady_for(NOW + 2 * GAP_S + 1) == 0, (
        "or for longer"
    )


@pytest.mark.parametrize(
    ("day", "months", "oldest"),
    [
        ("2026-11-22", 12, "2025-11"),
        ("2026-01-01", 1, "2025-12"),
        ("2026-12-31", 11, "2026-01"),
        ("2026-12-31", 12, "2025-12"),
    ],
)
def test_the_oldest_month_that_is_kept(day: str, months: int, oldest: str) -> None:
    now = datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()
    assert oldest_kept(now, months) == oldest
