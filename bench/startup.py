"""``disinto --help`` beside an interpreter that does nothing."""

from __future__ import annotations

import compileall
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import dispatcher
from bench.figures import Figure, median
from bench.stage import Stage

STARTS = 25
GOAL = 3.0


def measure(_stage: Stage, *, starts: int = STARTS) -> list[Figure]:
    """The two take turns. The package is compiled first, as it is in an installed wheel."""
    compileall.compile_dir(Path(dispatcher.__file__).parent, quiet=1)
    program = str(Path(sys.executable).with_name("disinto"))
    helps: list[float] = []
    passes: list[float] = []
    for _ in range(starts + 1):
        passes.append(_took([sys.executable, "-c", "pass"]))
        helps.append(_took([program, "--help"]))
    shown, nothing = median(helps[1:]), median(passes[1:])
    return [
        Figure(
            name="startup",
            what="`disinto --help` beside `python -c pass`",
            goal=f"at most {GOAL:g} times as long",
            measured=f"{shown / nothing:.1f} times ({shown:.0f} ms beside {nothing:.0f} ms)",
            reached=shown / nothing <= GOAL,
            values={"ratio": shown / nothing, "help_ms": shown, "pass_ms": nothing},
        )
    ]


def _took(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1_000
