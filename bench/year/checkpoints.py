"""``serve`` on what simulated time left: how long it takes to start, its memory, and what a run costs then.

The engine is a fake; all else is real, OpenBao included.
"""

from __future__ import annotations

import os
import shutil
import signal
import time

from bench.arrivals import Arrivals
from bench.commanded import Commanded, commanded, settle
from bench.figures import median
from bench.growth import Served, one_action
from bench.stage import push_actions
from dispatcher.devservers.scene import Scene

ACTIONS = 9
"""Actions one by one; the first is not counted."""

AT_ONCE = 20
LONGEST_S = 600.0


def serve_at(scene: Scene, number: int) -> dict[str, float]:
    """Start it without its clone, kill it, start it again, and give it some actions.

    Args:
        number: of the checkpoint; no other of the scene has it.
    """
    state = scene.open_settings().state_dir
    shutil.rmtree(state / "ops.git", ignore_errors=True)
    lost, after = f"c{number}-lost", f"c{number}-after"
    push_actions(scene.remote, [lost])
    began = time.monotonic()
    with commanded(scene, fake=True) as service:
        without_clone_s = service.wait_submitted([lost], timeout_s=LONGEST_S) - began
        os.kill(service.pid, signal.SIGKILL)
    audit = state / "audit.jsonl"
    push_actions(scene.remote, [after])
    began = time.monotonic()
    with commanded(scene, fake=True) as service:
        after_crash_s = service.wait_submitted([lost, after], timeout_s=LONGEST_S) - began
        with Arrivals(scene.remote) as arrivals:
            service.command("end", 2)
            arrivals.wait(2, timeout_s=LONGEST_S)
        settle(service)
        audited = audit.stat().st_size
        served = Served(name="", remote=scene.remote, service=service)
        for turn in range(ACTIONS):
            if turn == 1:
                served.took = {name: [] for name in served.took}
            one_action(served, number * 1_000 + turn)
        audit_bytes = (audit.stat().st_size - audited) / ACTIONS
        rounds = _rounds(scene, service, number)
        return {
            "without_clone_s": without_clone_s,
            "after_crash_s": after_crash_s,
            "rss_mb": service.rss_mb(),
            "round_ms": median(rounds),
            "longest_round_ms": max(rounds),
            "audit_bytes": audit_bytes,
            **{f"{name}_ms": median(took) for name, took in served.took.items()},
        }


def _rounds(scene: Scene, service: Commanded, number: int) -> list[float]:
    """Milliseconds of each round while some actions come and end together."""
    names = [f"c{number}-{n}" for n in range(AT_ONCE)]
    service.command("stats")
    push_actions(scene.remote, names)
    service.command("look")
    service.wait_submitted(names, timeout_s=LONGEST_S)
    with Arrivals(scene.remote) as arrivals:
        service.command("end", AT_ONCE)
        arrivals.wait(AT_ONCE, timeout_s=LONGEST_S)
    rounds: list[float] = service.command("stats")["rounds_ms"]
    return rounds
