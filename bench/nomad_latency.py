"""Latency from the end of a formula on Nomad to its result on the remote, one action at a time."""

from __future__ import annotations

from bench import latency
from bench.figures import Figure
from bench.nomad_stage import agent, scene_on
from bench.stage import Stage

ACTIONS = 25
GOAL_S = 0.4


def measure(stage: Stage, *, actions: int = ACTIONS) -> list[Figure]:
    """As ``bench.latency``, with Nomad's own reporting of the end in between."""
    with agent() as server, scene_on(stage, server) as scene:
        return [latency.figure("nomad_latency", scene, actions, goal_s=GOAL_S)]
