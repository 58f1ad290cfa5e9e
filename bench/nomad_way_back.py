"""As ``bench.way_back``, on Nomad."""

from __future__ import annotations

from bench import way_back
from bench.figures import Figure
from bench.nomad_stage import agent, scene_on
from bench.stage import Stage
from dispatcher.devservers.collector import collecting


def measure(stage: Stage, *, actions: int = way_back.ACTIONS) -> list[Figure]:
    """On a real Nomad."""
    with (
        collecting() as collector,
        agent() as server,
        scene_on(stage, server, trace={"endpoint": collector.endpoint}) as scene,
    ):
        way_back.run(scene, actions)
    return way_back.figures("nomad_way_back", collector.spans)
