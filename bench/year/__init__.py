"""100,000 runs a day for a year, in compressed time: ``python -m bench --scale``.

36.5 million runs do not pass through git in an hour. What grows depends on how many actions were ever
archived, on how many of one day or month, on how many finished ones are not archived yet, and on nothing
else that a run leaves. So time is driven twice: 50 runs a day through all of a year, and 100,000 a day for
half a day. What comes out alike for both, over the number of archived actions, depends on that number, not on
the rate nor on how long it took. Remotes with more archived actions than either are built at once and served, to
see whether they extend the line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import git_growth
from bench.figures import Figure
from bench.stage import Stage
from bench.year import charts
from bench.year.checkpoints import serve_at
from bench.year.figures import figures
from bench.year.rates import ARCHIVED, BUILT, DAY_S, FULL, YEAR, Course, Rate
from bench.year.simulation import Simulation, size, timed
from dispatcher.ops_repo import OpsRepo

DATA = Path(__file__).parents[1] / "year.json"


def measure(
    stage: Stage,
    *,
    rates: Sequence[Rate] = (YEAR, FULL),
    archived: Sequence[int] = ARCHIVED,
    keep: bool = True,
) -> list[Figure]:
    """All courses; writes their data and the charts.

    Args:
        keep: whether data and charts are written.
    """
    courses = [*(course_of(stage, rate) for rate in rates), built(stage, archived)]
    if keep:
        DATA.write_text(json.dumps([_rounded(asdict(each)) for each in courses], indent=1) + "\n")
        charts.write(read())
    return figures(courses)


def read() -> list[Course]:
    """What was measured last."""
    return [Course.of(each) for each in json.loads(DATA.read_text())]


def course_of(stage: Stage, rate: Rate) -> Course:
    """Drive time at one rate, and start ``serve`` now and then."""
    scene = stage.scene(archive={"automatic": False}, limits={"max_in_flight": 100})
    directory = stage.folder / f"year-{rate.name}"
    simulation = Simulation(scene, rate, directory, begins=time.time() - rate.days * DAY_S)
    began = time.monotonic()
    course = simulation.course
    for number, share in enumerate(rate.checkpoints, 1):
        simulation.until(share)
        served = {"runs": float(course.runs), "archived": simulation.archived}
        course.served.append({**served, **serve_at(scene, number)})
        took = time.monotonic() - began
        print(f"  {rate.what}: {course.runs:,} runs in {took:.0f} s", file=sys.stderr, flush=True)
    course.end["remote_mb"] = simulation.pack_remote() / 1e6
    fresh = OpsRepo(git_dir=directory / "fresh.git", settings=scene.open_settings().ops_repo)
    course.end["clone_s"] = timed(fresh.fetch)
    course.end["fresh_mb"] = size(directory / "fresh.git") / 1e6
    fresh.close()
    simulation.close()
    return course


def built(stage: Stage, sizes: Sequence[int]) -> Course:
    """``serve`` on remotes that have so many archived actions from their first commit on."""
    course = Course(rate=BUILT)
    for archived in sizes:
        scene = stage.scene(archive={"automatic": False}, limits={"max_in_flight": 100})
        directories: dict[str, list[tuple[str, bytes]]] = {}
        for number in range(archived):
            directory = f"vault/done/{git_growth.MONTHS[number % len(git_growth.MONTHS)]}"
            directories.setdefault(directory, []).extend(git_growth.pair(f"old-{number:07}"))
        git_growth.build(scene.remote, directories)
        sizes_of = {"runs": archived, "archived": archived}
        course.served.append({**sizes_of, **serve_at(scene, 1)})
        print(f"  {archived:,} built and served", file=sys.stderr, flush=True)
    return course


def _rounded(data: object) -> object:
    if isinstance(data, float):
        return round(data, 3)
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    return [_rounded(value) for value in data] if isinstance(data, list) else data
