"""Latency from the end of a formula to its result on the remote, one action at a time."""

from __future__ import annotations

from datetime import datetime

from bench.arrivals import Arrivals
from bench.figures import Figure, median, percentile
from bench.stage import Stage, push_actions, served
from dispatcher.devservers.scene import Scene

ACTIONS = 40
GOAL_S = 0.1
LONGEST_S = 30.0


def measure(stage: Stage, *, actions: int = ACTIONS) -> list[Figure]:
    """On the local scheduler."""
    return [figure("latency", stage.scene(), actions)]


def figure(name: str, scene: Scene, actions: int, *, goal_s: float = GOAL_S) -> Figure:
    """Seconds from ``finished_at``, which the runner notes, to the push."""
    with served(scene) as dispatcher, Arrivals(scene.remote) as arrivals:
        for number in range(actions + 1):
            push_actions(scene.remote, [f"single{number:03}"])
            dispatcher.notify()
            arrivals.wait(number + 1, timeout_s=LONGEST_S)
        arrived = dict(arrivals.wall)
    took = [
        arrived[action_id] - datetime.fromisoformat(result["finished_at"]).timestamp()
        for action_id, result in sorted(scene.results().items())
    ][1:]  # the first one starts the dispatcher, too
    p50, p95 = median(took), percentile(took, 95)
    return Figure(
        name=name,
        what=f"end of a formula to its result on the remote, {actions} actions one by one",
        goal=f"p95 under {goal_s:g} s",
        measured=f"p50 {p50:.3f} s, p95 {p95:.3f} s",
        reached=p95 < goal_s,
        values={"p50_s": p50, "p95_s": p95, "max_s": max(took)},
    )
