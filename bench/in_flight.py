"""1,000 runs in flight under the fake scheduler: memory of the service, and time of a round."""

from __future__ import annotations

import time

from bench.arrivals import Arrivals
from bench.commanded import Commanded, commanded, settle
from bench.figures import Figure, median, percentile
from bench.stage import Stage, push_actions

RUNS = 1_000
ENDINGS = 10
REST_S = 15.0
LONGEST_S = 180.0


def measure(stage: Stage, *, runs: int = RUNS) -> list[Figure]:
    """Beside the same service with nothing in flight."""
    scene = stage.scene(limits={"max_in_flight": runs})
    with commanded(scene, fake=True) as service:
        push_actions(scene.remote, ["first"])
        service.command("look")
        service.wait_submitted(["first"], timeout_s=LONGEST_S)
        with Arrivals(scene.remote) as arrivals:
            service.command("end", 1)
            arrivals.wait(1, timeout_s=LONGEST_S)
        settle(service)
        empty_mb, _, empty_cpu = at_rest(service)
        names = [f"run-{number:04}" for number in range(runs)]
        push_actions(scene.remote, names)
        began = service.command("look")["at"]
        started_s = service.wait_submitted(names, timeout_s=LONGEST_S) - began
        settle(service)
        full_mb, rest_ms, full_cpu = at_rest(service)
        ending_ms, ends_s = one_by_one(service, Arrivals(scene.remote))
    return [
        Figure(
            name="in_flight",
            what=f"{runs:,} runs in flight (fake scheduler): memory of `serve`",
            goal="",
            measured=f"{full_mb:.0f} MB, {empty_mb:.0f} MB with none",
            reached=None,
            values={"rss_mb": full_mb, "empty_rss_mb": empty_mb, "started_in_s": started_s},
        ),
        Figure(
            name="in_flight",
            what=f"{runs:,} runs in flight: one round of the loop, and CPU at rest",
            goal="",
            measured=(
                f"{rest_ms:.1f} ms at rest, {ending_ms:.1f} ms while one ends; "
                f"{full_cpu * 100:.1f} % of a core at rest, {empty_cpu * 100:.1f} % with none"
            ),
            reached=None,
            values={"rest_round_ms": rest_ms, "ending_round_ms": ending_ms, "rest_cpu": full_cpu},
        ),
        Figure(
            name="in_flight",
            what=f"{runs:,} runs in flight: end of one to its result on the remote",
            goal="",
            measured=f"p50 {median(ends_s):.2f} s, longest {max(ends_s):.2f} s",
            reached=None,
            values={"end_p50_s": median(ends_s), "end_p95_s": percentile(ends_s, 95)},
        ),
    ]


def at_rest(service: Commanded) -> tuple[float, float, float]:
    """Megabytes, median milliseconds of a round, and CPU seconds a second."""
    service.command("stats")
    cpu, began = service.cpu_s(), time.monotonic()
    time.sleep(REST_S)
    used = (service.cpu_s() - cpu) / (time.monotonic() - began)
    rounds = service.command("stats")["rounds_ms"]
    return service.rss_mb(), median(rounds) if rounds else 0.0, used


def one_by_one(service: Commanded, arrivals: Arrivals) -> tuple[float, list[float]]:
    """Median milliseconds of the rounds while runs end, and seconds from each end to its result."""
    seconds = []
    service.command("stats")
    with arrivals:
        for number in range(ENDINGS):
            ended = service.command("end", 1)["at"]
            seconds.append(arrivals.wait(number + 1, timeout_s=LONGEST_S) - ended)
    return median(service.command("stats")["rounds_ms"]), seconds
