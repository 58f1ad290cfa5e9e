"""The figures of all courses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.figures import Figure, median
from bench.year.rates import BUILT, WHAT, Course


def figures(courses: Sequence[Course]) -> list[Figure]:
    """What grows, per run or archived action; and ratios for what must not grow."""
    driven = [course for course in courses if course.samples]
    return [
        _grows("bytes of the clone per run", driven, _clone_bytes, "B"),
        *(
            _served(what, courses, name, factor, unit)
            for what, name, factor, unit in (
                ("memory of `serve`", "rss_mb", 1e6, "B"),
                ("a push of one result", "push_ms", 1e3, "µs"),
                ("a start after a crash, to a dispatch", "after_crash_s", 1e6, "µs"),
                ("a start without its clone, to a dispatch", "without_clone_s", 1e6, "µs"),
                ("a round of the loop", "round_ms", 1e3, ""),
                ("commit of one result", "commit_ms", 1e3, ""),
                ("a new action to its submission", "tick_ms", 1e3, ""),
            )
        ),
        _flat("the ledger, between two batches", driven, "ledger_kb", "kB"),
        _flat("claim, verdict and signature of a run", driven, "run_ms", "ms"),
        _flat("commit of a batch of results", driven, "commit_ms", "ms"),
        _flat("fetch and difference of a batch", driven, "follow_ms", "ms"),
        _flat("what schedules want, asked once", driven, "schedules_ms", "ms"),
    ]


def _clone_bytes(course: Course) -> float:
    return course.last("clone_mb") * 1e6 / course.last("runs")


def _served(what: str, courses: Sequence[Course], name: str, factor: float, unit: str) -> Figure:
    """At the smallest ops repo and the largest of those that were made at once and served: these differ in
    nothing but the number of archived actions. And by the line between the largest two.
    """
    points = next(course.served for course in courses if course.rate == BUILT)
    least, before, most = points[0], points[-2], points[-1]
    slope = (most[name] - before[name]) / (most["archived"] - before["archived"]) * factor
    shown = name.rpartition("_")[2].replace("mb", "MB")
    each = f": {_number(slope)} {unit} each" if unit else ""
    return Figure(
        name="year",
        what=f"{what}, over the number of archived actions",
        goal="",
        measured=(
            f"{_number(least[name])} {shown} with {least['archived']:,.0f}, "
            f"{_number(most[name])} {shown} with {most['archived']:,.0f}{each}"
        ),
        reached=None,
        values={"least": least[name], "most": most[name], "each": slope},
    )


def _grows(
    what: str, courses: Sequence[Course], of: Callable[[Course], float], unit: str
) -> Figure:
    each = {course.rate: of(course) for course in courses}
    words = " and ".join(f"{_number(value)} {unit} ({WHAT[name]})" for name, value in each.items())
    return Figure(name="year", what=what, goal="", measured=words, reached=None, values=each)


def _flat(what: str, courses: Sequence[Course], name: str, unit: str) -> Figure:
    values = {}
    for course in courses:
        samples = [sample[name] for sample in course.samples if name in sample]
        quarter = max(1, len(samples) // 4)
        # The first quarter of a course fills what is not archived yet.
        values[f"{course.rate}_first"] = median(samples[quarter : 2 * quarter] or samples)
        values[f"{course.rate}_last"] = median(samples[-quarter:])
    return _judged(what, values, unit, "from the second quarter to the last")


def _judged(what: str, values: dict[str, float], unit: str, span: str) -> Figure:
    rates = dict.fromkeys(name.rpartition("_")[0] for name in values)
    words = "; ".join(
        f"{_number(values[f'{rate}_first'])} to {_number(values[f'{rate}_last'])} {unit} "
        f"({WHAT[rate]})"
        for rate in rates
    )
    return Figure(
        name="year",
        what=f"{what}, {span}",
        goal="",
        measured=words,
        reached=None,
        values=values,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
