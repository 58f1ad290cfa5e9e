"""Small charts of what was measured, as SVG that is readable on a light and on a dark page. Pure, but for
``write``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.year.rates import WHAT, Course

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 74, 34
"""Margins of the drawing."""

TICKS = 4
FEW = 10
"""A line of fewer points has a mark at each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One chart: a number over another.

    Attributes:
        name: of the file, without its ending.
        title: with the unit.
        y: name of the number.
        x, x_title: over which, and how that is called.
        served: whether ``serve`` was measured, at the checkpoints.
    """

    name: str
    title: str
    y: str
    x: str = "archived"
    x_title: str = "archived actions, thousands"
    served: bool = False


CHARTS = (
    Chart(name="scale-clone", title="The dispatcher's clone, MB", y="clone_mb"),
    Chart(name="scale-ledger", title="The ledger between two batches, kB", y="ledger_kb"),
    Chart(name="scale-memory", title="Memory of serve, MB", y="rss_mb", served=True),
    Chart(name="scale-round", title="One round of the loop, ms", y="round_ms", served=True),
    Chart(name="scale-push", title="Push of one result, ms", y="push_ms", served=True),
    Chart(name="scale-commit", title="A result's commit, ms", y="commit_ms", served=True),
    Chart(
        name="scale-start",
        title="From the start after a crash to a dispatch, s",
        y="after_crash_s",
        served=True,
    ),
    Chart(
        name="scale-archive",
        title="Archiving what is due, ms",
        y="archive_ms",
        x="largest",
        x_title="actions in the largest directory, thousands",
    ),
)


def drawn(chart: Chart, courses: Sequence[Course]) -> str:
    """The chart as SVG."""
    all_lines = {course.rate: list(_points(chart, course)) for course in courses}
    lines = {rate: points for rate, points in all_lines.items() if points}
    every = [point for points in lines.values() for point in points]
    x_max = _rounded_up(max(x for x, _ in every))
    y_max = _rounded_up(max(y for _, y in every))

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / x_max
        return round(across, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / y_max, 1)

    parts = [number / TICKS for number in range(TICKS + 1)]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("chart.svg").render(
        title=chart.title,
        x_title=chart.x_title,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        bottom=BOTTOM,
        y_ticks=[{"at": place(0, y_max * p)[1], "label": f"{y_max * p:,g}"} for p in parts],
        x_ticks=[
            {"at": place(x_max * p, 0)[0], "label": f"{x_max * p / 1_000:,g}"} for p in parts[1:]
        ],
        lines=[
            _line(number, name, points, place)
            for number, (name, points) in enumerate(lines.items())
        ],
    )


def write(courses: Sequence[Course], directory: Path = IMAGES) -> None:
    """Write all charts."""
    for chart in CHARTS:
        (directory / f"{chart.name}.svg").write_text(drawn(chart, courses) + "\n")


def _line(
    number: int,
    name: str,
    points: Sequence[tuple[float, float]],
    place: Callable[[float, float], tuple[float, float]],
) -> dict[str, object]:
    placed = [place(x, y) for x, y in points]
    return {
        "number": number,
        "what": WHAT[name],
        "points": " ".join(f"{x},{y}" for x, y in placed),
        "marks": placed if len(placed) < FEW else [],
    }


def _points(chart: Chart, course: Course) -> Iterator[tuple[float, float]]:
    for each in course.served if chart.served else course.samples:
        if chart.y in each:
            yield each[chart.x], each[chart.y]


def _rounded_up(value: float) -> float:
    """The next value that four steps divide well."""
    if value <= 0:
        return 1.0
    unit = 10 ** math.floor(math.log10(value))
    parts = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
    return float(next(round(unit * part, 9) for part in parts if value <= unit * part))
