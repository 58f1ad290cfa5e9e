"""What people type most, beside an interpreter that does nothing: ``--help``, ``status``, TAB, …"""

from __future__ import annotations

import compileall
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dispatcher as package
from bench.arrivals import Arrivals
from bench.figures import Figure, median
from bench.stage import Stage, push_actions, served

STARTS = 25
GOAL = 3.0
COMMAND_MS = 200.0
TAB_MS = 100.0
TAB = "TAB after `disinto logs`"

DONE = tuple(f"done-{number:02}" for number in range(12))
"""More finished actions than the status file lists; the first of them ends first."""

LAST = "done-last"

COMMANDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "status": ("status", ("status",)),
    "status_id": ("status` of one action, `disinto status ID", ("status", DONE[0])),
    "plan": ("plan", ("plan",)),
    "logs": ("logs` of the last run, `disinto logs ID", ("logs", LAST)),
    "logs_older": ("logs` of an older run, `disinto logs ID", ("logs", DONE[0])),
}
"""Beside a living ``serve`` that has nothing to do: what each is called here, and its words."""


def measure(stage: Stage, *, starts: int = STARTS) -> list[Figure]:
    """All take turns. The package is compiled first, as it is in an installed wheel."""
    compileall.compile_dir(Path(package.__file__).parent, quiet=1)
    program = str(Path(sys.executable).with_name("disinto"))
    tab = {
        "_DISINTO_COMPLETE": "bash_complete",
        "COMP_WORDS": "disinto logs d",
        "COMP_CWORD": "2",
    }
    scene = stage.scene()
    with served(scene) as dispatcher, Arrivals(scene.remote) as arrivals:
        so_far = 0
        for names in (DONE[:1], DONE[1:], (LAST,)):
            so_far += len(names)
            push_actions(scene.remote, list(names))
            dispatcher.notify()
            arrivals.wait(so_far, timeout_s=60)
        calls: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
            "pass": ([sys.executable, "-c", "pass"], {}),
            "--help": ([program, "--help"], {}),
            "TAB": ([program], tab),
            **{name: ([program, *words], {}) for name, (_, words) in COMMANDS.items()},
        }
        took: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(starts + 1):
            for name, (arguments, more) in calls.items():
                took[name].append(_took(arguments, {**scene.environ, **more}, scene.config.parent))
    middle = {name: median(times[1:]) for name, times in took.items()}
    nothing = middle.pop("pass")
    shown = middle.pop("--help")
    figures = [
        Figure(
            name="startup",
            what="`disinto --help` beside `python -c pass`",
            goal=f"at most {GOAL:g} times as long",
            measured=f"{shown / nothing:.1f} times ({shown:.0f} ms beside {nothing:.0f} ms)",
            reached=shown / nothing <= GOAL,
            values={"ratio": shown / nothing, "help_ms": shown, "pass_ms": nothing},
        )
    ]
    for name, ms in middle.items():
        goal = TAB_MS if name == "TAB" else COMMAND_MS
        figures.append(
            Figure(
                name=f"startup_{name.lower()}",
                what=f"`disinto {COMMANDS[name][0]}`" if name in COMMANDS else TAB,
                goal=f"at most {goal:g} ms",
                measured=f"{ms:.0f} ms, {ms / nothing:.1f} times `python -c pass`",
                reached=ms <= goal,
                values={"ms": ms, "ratio": ms / nothing},
            )
        )
    return figures


def _took(command: Sequence[str], environ: Mapping[str, str], directory: Path) -> float:
    began = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=directory,
        env=environ,
    )
    return (time.perf_counter() - began) * 1_000
