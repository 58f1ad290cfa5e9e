"""``python -m bench``: measure, print the table, and write it to ``docs/performance.md``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from importlib import import_module

from bench import record
from bench.record import Record, Taken
from bench.stage import Stage, stage
from tests.servers.available import why_missing

SUITES: Mapping[str, tuple[str, ...]] = {
    "local": (
        "startup",
        "redaction",
        "runner_cost",
        "latency",
        "way_back",
        "burst",
        "in_flight",
        "throughput",
        "locks",
        "growth",
        "inventory",
        "desktops",
        "stacks",
        "kept_output",
        "page",
        "sidecars",
        "releases",
    ),
    "nomad": ("nomad_latency", "nomad_way_back", "nomad_in_flight", "nomad_throughput"),
    "forge": ("approval",),
    "scale": ("year",),
    "dokploy": ("stacks_on_dokploy",),
}
"""Modules of this package by suite; each has ``measure(stage)``, which returns its figures."""

ASKED_FOR = ("nomad", "scale", "dokploy")
"""Suites that are measured only if they are asked for."""

NEEDS: Mapping[str, str] = {"nomad": "nomad", "forge": "forgejo", "dokploy": "dokploy"}
"""What a suite needs besides OpenBao; without it the suite is skipped with a message."""


def main() -> int:
    arguments = _arguments()
    names = [n for suite in arguments.suites for n in SUITES[suite]]
    chosen = arguments.only or names
    if unknown := set(chosen) - set(names):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    results: Record = {}
    with stage() as ground:
        for suite in arguments.suites:
            selected = [name for name in SUITES[suite] if name in chosen]
            if selected and (reason := why_missing(NEEDS[suite]) if suite in NEEDS else None):
                print(f"{', '.join(selected)}: left out, {reason}", file=sys.stderr)
                continue
            for name in selected:
                results.setdefault(suite, {})[name] = _take(name, ground)
                _keep(results)
    if arguments.json:
        print(json.dumps(record.as_data(results), indent=1))
    else:
        for measurements in results.values():
            print(record.table(list(measurements.values())))
    missed = [
        figure.name
        for measurements in results.values()
        for taken in measurements.values()
        for figure in taken.figures
        if figure.reached is False
    ]
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--nomad", action="store_true", help="the suite on a real Nomad")
    parser.add_argument("--scale", action="store_true", help="a year at 100,000 runs a day")
    parser.add_argument("--dokploy", action="store_true", help="stacks on a real Dokploy")
    parser.add_argument("--only", action="append", metavar="NAME", help="this one; repeatable")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    arguments = parser.parse_args()
    asked_for = [suite for suite in ASKED_FOR if getattr(arguments, suite)]
    arguments.suites = asked_for or [suite for suite in SUITES if suite not in ASKED_FOR]
    return arguments


def _take(name: str, ground: Stage) -> Taken:
    busy, began = record.busy(), time.monotonic()
    print(f"{name} …", file=sys.stderr, flush=True)
    figures = import_module(f"bench.{name}").measure(ground)
    took = time.monotonic() - began
    for figure in figures:
        print(f"  {figure.what}: {figure.measured} {figure.verdict}", file=sys.stderr)
    return Taken(
        date=record.today(),
        machine=record.machine(),
        busy=busy,
        seconds=took,
        figures=tuple(figures),
    )


def _keep(results: Record) -> None:
    """Replace the previous results by the new ones, in the order of the suites."""
    kept = record.read()
    for suite, measurements in results.items():
        both = {**kept.get(suite, {}), **measurements}
        kept[suite] = {name: both[name] for name in SUITES[suite] if name in both}
    record.write(kept)


if __name__ == "__main__":
    sys.exit(main())
