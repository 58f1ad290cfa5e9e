"""Latency from the end of a formula on Nomad to its result on the remote, one action at a time: by Nomad's
own report of the end, and by the runner's notice.
"""

from __future__ import annotations

from dataclasses import replace

from bench import latency
from bench.figures import Figure
from bench.nomad_stage import agent, notices_off, scene_on, with_listener
from bench.stage import Stage

ACTIONS = 25
GOAL_S = 0.4


def measure(stage: Stage, *, actions: int = ACTIONS) -> list[Figure]:
    """As ``bench.latency``, with the report of the end in between."""
    with agent() as server:
        with scene_on(stage, server, **notices_off()) as scene:
            by_events = latency.figure("nomad_latency", scene, actions, goal_s=GOAL_S)
        with scene_on(stage, server, **with_listener()) as scene:
            by_notices = latency.figure("nomad_latency", scene, actions, goal_s=GOAL_S)
    what = f'{by_events.what}, with `[nomad] listener_url = ""`'
    return [by_notices, replace(by_events, what=what)]
