"""As ``bench.way_back``, on Nomad; and what the time consists of until Nomad's event."""

from __future__ import annotations

from datetime import datetime

from bench import way_back
from bench.figures import Figure, median, percentile
from bench.nomad_stage import agent, scene_on
from bench.stage import Stage
from dispatcher.devservers.collector import collecting
from dispatcher.devservers.scene import Scene
from dispatcher.engines.nomad.api import NomadApi

NAME = "nomad_way_back"
ENDS = "the runner ends, and Nomad's client notices"
SENT = "the client sends that, together with what else changed within 200 ms"


def measure(stage: Stage, *, actions: int = way_back.ACTIONS) -> list[Figure]:
    """On a real Nomad."""
    with (
        collecting() as collector,
        agent() as server,
        scene_on(
            stage, server, trace={"endpoint": collector.endpoint}, nomad={"keep_finished_s": 600}
        ) as scene,
    ):
        way_back.run(scene, actions)
        of_nomad = _of_nomad(scene, server.api())
    return [*_figures(of_nomad), *way_back.figures(NAME, collector.spans)]


def _of_nomad(scene: Scene, api: NomadApi) -> dict[str, list[float]]:
    """Seconds of the parts of what the spans call ``report``, by Nomad's own records; what is left of
    it is the server's: it collects for 50 ms, commits by raft, and sends the event.
    """
    parts: dict[str, list[float]] = {ENDS: [], SENT: []}
    for _action_id, result in sorted(scene.results().items())[1:]:
        finished_at = datetime.fromisoformat(result["finished_at"]).timestamp()
        (allocation,) = api.allocations(result["engine"]["job"])
        noticed_at = max(
            event["Time"] / 1e9
            for task in (allocation["TaskStates"] or {}).values()
            for event in task["Events"] or ()
            if event["Type"] == "Terminated"
        )
        api.stop(result["engine"]["job"], purge=True)
        parts[ENDS].append(noticed_at - finished_at)
        parts[SENT].append(allocation["ModifyTime"] / 1e9 - noticed_at)
    api.close()
    return parts


def _figures(parts: dict[str, list[float]]) -> list[Figure]:
    return [
        Figure(
            name=NAME,
            what=f"of what the engine takes to report the end: {what}",
            goal="",
            measured=f"p50 {median(values) * 1e3:.0f} ms, p95 {percentile(values, 95) * 1e3:.0f} ms",
            reached=None,
            values={"p50_s": median(values), "p95_s": percentile(values, 95)},
        )
        for what, values in parts.items()
    ]
