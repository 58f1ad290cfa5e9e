"""Where the time goes between the end of a formula and its result on the remote, by traces of
``serve`` itself: ``python -m bench --only way_back`` and ``--nomad --only nomad_way_back``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.arrivals import Arrivals
from bench.figures import Figure, median, percentile
from bench.stage import Stage, push_actions, served
from dispatcher.devservers.collector import collecting
from dispatcher.devservers.scene import Scene

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

ACTIONS = 25
LONGEST_S = 30.0

PARTS: Mapping[str, str] = {
    "report": "the engine reports the end",
    "pause": "pause since the last observation",
    "observe": "observation, and reading the outcome",
    "revoke": "revoking the grant",
    "collect": "reading the whole output",
    "sign": "signing the result",
    "record": "recording the verdict",
    "push": "commit and push",
}
"""Spans of the way back, in order, and what they are."""

ELSE = "rest"


def measure(stage: Stage, *, actions: int = ACTIONS) -> list[Figure]:
    """On the local scheduler."""
    with collecting() as collector:
        scene = stage.scene(trace={"endpoint": collector.endpoint})
        run(scene, actions)
    return figures("way_back", collector.spans)


def run(scene: Scene, actions: int) -> None:
    """Run trivial actions one by one; all spans are exported at the end."""
    with served(scene) as dispatcher, Arrivals(scene.remote) as arrivals:
        for number in range(actions + 1):
            push_actions(scene.remote, [f"single{number:03}"])
            dispatcher.notify()
            arrivals.wait(number + 1, timeout_s=LONGEST_S)


def figures(name: str, spans: Sequence[Span]) -> list[Figure]:
    """One line for each part, and one for what lies between them."""
    taken: dict[str, list[float]] = defaultdict(list)
    for way in list(_ways(spans).values())[1:]:  # the first one starts the dispatcher, too
        for part, seconds in _parts(way).items():
            taken[part].append(seconds)
    total = median(taken.pop("whole"))
    lines = {**PARTS, ELSE: "deciding, and waiting for threads"}
    return [
        Figure(
            name=name,
            what=f"end of a formula to its result on the remote: {lines[part]}",
            goal="",
            measured=f"p50 {median(values) * 1e3:.0f} ms, p95 {percentile(values, 95) * 1e3:.0f} ms "
            f"(of p50 {total * 1e3:.0f} ms)",
            reached=None,
            values={f"{part}_p50_s": median(values), f"{part}_p95_s": percentile(values, 95)},
        )
        for part, values in sorted(taken.items(), key=lambda each: [*lines].index(each[0]))
    ]


def _ways(spans: Sequence[Span]) -> dict[str, list[Span]]:
    """The spans of each action, in order of the actions."""
    ways: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda each: each.start_time_unix_nano):
        values = {each.key: each.value.string_value for each in span.attributes}
        ways[values["disinto.action"]].append(span)
    return dict(sorted(ways.items()))


def _parts(way: Sequence[Span]) -> dict[str, float]:
    """Seconds of each part of one action's way back. What overlaps counts for the earlier one."""
    at = next(span.end_time_unix_nano for span in way if span.name == "run")
    began, parts = at, dict.fromkeys((*PARTS, ELSE), 0.0)
    for span in way:
        if (
            span.name not in PARTS
            or span.end_time_unix_nano <= at
            or span.start_time_unix_nano < began
        ):
            continue
        parts[ELSE] += max(0, span.start_time_unix_nano - at) / 1e9
        parts[span.name] += (span.end_time_unix_nano - max(at, span.start_time_unix_nano)) / 1e9
        at = span.end_time_unix_nano
        if span.name == "push":
            break
    parts["whole"] = (at - began) / 1e9
    return parts
