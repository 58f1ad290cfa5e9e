"""``disinto release deploy`` as the timer starts it when the branch has not moved."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, median
from bench.stage import Stage
from tests.support.release_stage import ReleaseStage

RUNS = 15
GOAL_MS = 1_000.0


def measure(_stage: Stage, *, runs: int = RUNS) -> list[Figure]:
    """Each run starts a process, fetches from a bare repository on this machine, and ends."""
    with tempfile.TemporaryDirectory() as directory:
        machine = ReleaseStage(Path(directory))
        machine.deploy()
        program = str(Path(sys.executable).with_name("disinto"))
        command = [program, "release", "deploy", "--timer", "--root", str(machine.root)]
        fetch = ["git", "-C", str(machine.root / "src"), "fetch", "-q", str(machine.remote), "main"]
        took: dict[str, list[float]] = {"no_op": [], "fetch": []}
        for _ in range(runs + 1):
            for name, words in (("no_op", command), ("fetch", fetch)):
                began = time.perf_counter()
                subprocess.run(words, check=True, capture_output=True)
                took[name].append((time.perf_counter() - began) * 1_000)
    no_op, alone = median(took["no_op"][1:]), median(took["fetch"][1:])
    return [
        Figure(
            name="release_no_op",
            what="`disinto release deploy --timer` with nothing to do",
            goal=f"at most {GOAL_MS:g} ms",
            measured=f"{no_op:.0f} ms, of which `git fetch` alone {alone:.0f} ms",
            reached=no_op <= GOAL_MS,
            values={"ms": no_op, "fetch_ms": alone},
        )
    ]
