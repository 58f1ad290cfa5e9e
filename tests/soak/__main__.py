"""``python -m tests.soak``: a soak of any length on either engine, with a report."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.soak import vault
from tests.soak.report import Report, conclude
from tests.soak.stage import stage
from tests.soak.weather import Weather


def main() -> int:
    """Run it; 1 if a problem was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--engine", choices=("local", "nomad"), default="local")
    parser.add_argument("--duration", type=float, default=60, help="seconds of the storm")
    parser.add_argument("--calm", type=float, default=300, help="seconds it may take to settle")
    parser.add_argument("--seed", type=int, default=0, help="0: a new one")
    parser.add_argument("--no-pusher", action="store_true", help="nobody hostile pushes")
    parser.add_argument("--json", type=Path, help="file for the report as JSON")
    parser.add_argument("--keep", type=Path, help="empty directory for everything, which stays")
    words = parser.parse_args()
    seed = words.seed or random.SystemRandom().randint(1, 10**6)
    report = Report(engine=words.engine, seed=seed, duration_s=words.duration)
    with ExitStack() as open_things:
        root = words.keep or Path(
            open_things.enter_context(tempfile.TemporaryDirectory(prefix="disinto-soak-"))
        )
        root.mkdir(parents=True, exist_ok=True)
        cluster = None
        if words.engine == "nomad":
            from tests.servers import nomad_cluster

            cluster = open_things.enter_context(nomad_cluster.serve())
        bao = open_things.enter_context(vault.serve())
        played = open_things.enter_context(stage(root.absolute(), bao, cluster))
        print(f"soak on {words.engine}, seed {seed}, in {root}", flush=True)
        weather = Weather(played, duration_s=words.duration, seed=seed, hostile=not words.no_pusher)
        weather.rage()
        conclude(played, report, calm_s=words.calm)
    if words.json:
        words.json.write_text(report.to_json())
    print(report.text())
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
