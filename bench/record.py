"""The record of measurements, and the table generated from it.

``bench/record.json`` holds the last figures of every measurement; a run replaces those it took.
The table in ``docs/performance.md`` is generated from the record only.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure
from tests.servers.available import why_missing

RECORD = Path(__file__).with_name("record.json")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- bench {suite}: made by `make {target}` -->", "<!-- end of bench {suite} -->"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Figures of one measurement.

    Attributes:
        date: of the measurement, UTC.
        machine: where it was, in words.
        busy: load average of the minute before, over the number of cores.
        seconds: how long it took.
        figures: the results.
    """

    date: str
    machine: str
    busy: float
    seconds: float
    figures: tuple[Figure, ...]


Record = dict[str, dict[str, Taken]]
"""By suite, then by measurement."""


def machine() -> str:
    """The shape of this machine."""
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    shape = [
        f"{os.cpu_count()} cores",
        f"{gib:.0f} GiB",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        _version("git", "--version"),
        _version("bao", "version"),
    ]
    if why_missing("nomad") is None:
        shape.append(_version("nomad", "version"))
    return ", ".join(part for part in shape if part)


def today() -> str:
    """The date, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")


def busy() -> float:
    """Load average of the last minute, over the number of cores."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def read() -> Record:
    """The record as it stands."""
    if not RECORD.exists():
        return {}
    return {
        suite: {
            name: Taken(**{**taken, "figures": tuple(Figure(**f) for f in taken["figures"])})
            for name, taken in measurements.items()
        }
        for suite, measurements in json.loads(RECORD.read_text()).items()
    }


def as_data(record: Record) -> dict[str, dict[str, object]]:
    """The record as plain data, numbers rounded."""
    return {
        suite: {name: _rounded(asdict(taken)) for name, taken in measurements.items()}
        for suite, measurements in record.items()
    }


def write(record: Record) -> None:
    """Write the record, and the tables of the page."""
    RECORD.write_text(json.dumps(as_data(record), indent=1, ensure_ascii=False) + "\n")
    page = PAGE.read_text()
    for suite, measurements in record.items():
        page = _with_block(page, suite, table(list(measurements.values())))
    PAGE.write_text(page)


def table(taken: Sequence[Taken]) -> str:
    """A table in Markdown."""
    lines = []
    for shape in dict.fromkeys(t.machine for t in taken):
        dates = sorted({t.date[:10] for t in taken if t.machine == shape})
        lines.append(f"Measured {' and '.join(dates)} (UTC) on: {shape}.")
    lines += ["", "| measured | asked | found | |", "|---|---|---|---|"]
    for one in taken:
        for figure in one.figures:
            goal = figure.goal or "(reported)"
            lines.append(
                f"| `{figure.name}`: {figure.what} | {goal} | {figure.measured} "
                f"| {figure.verdict} |"
            )
    loads = [t.busy for t in taken]
    lines += [
        "",
        f"Load of the machine when a measurement began, in runnable processes a core: "
        f"{min(loads):.1f} to {max(loads):.1f}.",
    ]
    return "\n".join(lines)


def _with_block(page: str, suite: str, text: str) -> str:
    target = "bench" if suite in ("local", "forge") else f"bench-{suite}"
    begin, end = BEGIN.format(suite=suite, target=target), END.format(suite=suite)
    if begin not in page or end not in page:
        raise SystemExit(f"{PAGE} lacks the line {begin!r} or {end!r}")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


def _rounded(data: object) -> object:
    if isinstance(data, float):
        return round(data, 3)
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    return [_rounded(value) for value in data] if isinstance(data, list | tuple) else data


def _version(*command: str) -> str:
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return " ".join(output.splitlines()[0].split(",")[0].replace("version ", "").split()[:2])
