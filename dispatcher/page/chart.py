"""A small chart: runs of each day, those that succeeded and the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.model.verdicts import Verdict

DAYS = 30
WIDTH, HEIGHT = 600, 96
GAP = 4
"""Units of the drawing."""

_GOOD = frozenset(verdict.value for verdict in Verdict if verdict.success)


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """One day.

    Attributes:
        at: its beginning (UTC), seconds since the epoch.
        good, bad: how many runs succeeded, and ended otherwise.
    """

    at: int
    good: int
    bad: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """The bar of a day: ``good`` is below ``bad``."""

    day: Day
    x: float
    width: float
    good_y: float
    good_height: float
    bad_y: float
    bad_height: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """The drawing, and its totals."""

    days: tuple[Day, ...]
    bars: tuple[Bar, ...]
    highest: int
    good: int
    bad: int


def chart(by_day: Mapping[int, Mapping[str, int]], *, now: float) -> Chart:
    """The chart of the days up to now.

    Args:
        by_day: number of runs by day (since the epoch) and verdict.
    """
    today = int(now // 86_400)
    days = tuple(
        _day(number, by_day.get(number, {})) for number in range(today - DAYS + 1, today + 1)
    )
    highest = max(day.good + day.bad for day in days)
    return Chart(
        days=days,
        bars=tuple(_bar(place, day, highest) for place, day in enumerate(days)),
        highest=highest,
        good=sum(day.good for day in days),
        bad=sum(day.bad for day in days),
    )


def _day(number: int, verdicts: Mapping[str, int]) -> Day:
    good = sum(count for verdict, count in verdicts.items() if verdict in _GOOD)
    return Day(at=number * 86_400, good=good, bad=sum(verdicts.values()) - good)


def _bar(place: int, day: Day, highest: int) -> Bar:
    step = WIDTH / DAYS
    good, bad = (_height(count, highest) for count in (day.good, day.bad))
    return Bar(
        day=day,
        x=round(place * step + GAP / 2, 2),
        width=round(step - GAP, 2),
        good_y=round(HEIGHT - good, 2),
        good_height=good,
        bad_y=round(HEIGHT - good - bad, 2),
        bad_height=bad,
    )


def _height(count: int, highest: int) -> float:
    """Of a part of a bar. What is there at all can be seen, beside however many others."""
    return round(max(1.5, (HEIGHT - 4) * count / highest), 2) if count else 0.0
