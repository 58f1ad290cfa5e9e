"""Dispatch alone, and 1,000 runs in flight on a real Nomad that finds no place for them.

The parent job has a constraint that no node meets, so that no task is started and nothing but
dispatching is measured. The bare calls go out over as many threads as the dispatcher has; claim
and token are the dispatcher's alone. The two take turns, while what is in
flight grows to 1,000.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from itertools import count

from bench.arrivals import Arrivals
from bench.commanded import Commanded, commanded, settle
from bench.figures import Figure, median, percentile
from bench.nomad_stage import LONGEST_S, UNPLACEABLE, Bare, agent, scene_on
from bench.processes import cpu_s
from bench.stage import Stage, push_actions
from dispatcher.devservers.scene import Scene
from tests.servers.nomad import Nomad

RUNS = 1_000
FEW = 10
AT_ONCE = 300
ROUNDS = 3
ENDINGS = 30
REST_S = 20.0
GOAL = 0.5
SAME_CALLS_GOAL = 0.8
SLACK_CALLS_S = 0.1
"""Calls a second by which two times of rest may differ by chance."""

_numbers = count(1)


def measure(stage: Stage) -> list[Figure]:
    """Dispatch, rest, and the end of one among many."""
    with (
        agent() as server,
        scene_on(
            stage, server, nomad={"constraints": [UNPLACEABLE]}, limits={"max_in_flight": RUNS}
        ) as scene,
        commanded(scene) as service,
    ):
        bare = Bare(scene, server)
        threads = scene.open_settings().limits.workers
        _dispatched(scene, service, FEW)
        few_calls, few_mb = _at_rest(service)
        bare_rates, best_rates, confirmed_rates, rates, servers_ms = [], [], [], [], []
        for _ in range(ROUNDS):
            payloads = bare.payloads(AT_ONCE)
            bare_s = _seconds(bare, partial(bare.dispatch_all, payloads, threads=threads))
            bare_rates.append(AT_ONCE / bare_s)
            # Half before and half after the dispatcher: the machine's own rate moves within seconds.
            best_s = _calls_s(bare, AT_ONCE // 2, threads=threads)
            confirmed_s = _calls_s(bare, AT_ONCE // 2, threads=threads, confirmed=True)
            settle(service)
            spent_s = _servers_cpu_s(stage, server)
            rates.append(_dispatched(scene, service, AT_ONCE))
            servers_ms.append((_servers_cpu_s(stage, server) - spent_s) / AT_ONCE * 1000)
            settle(service)
            confirmed_s += _calls_s(bare, AT_ONCE // 2, threads=threads, confirmed=True)
            best_s += _calls_s(bare, AT_ONCE // 2, threads=threads)
            best_rates.append(AT_ONCE / best_s)
            confirmed_rates.append(AT_ONCE / confirmed_s)
        _dispatched(scene, service, RUNS - FEW - ROUNDS * AT_ONCE)
        many_calls, many_mb = _at_rest(service)
        ends_s = _ended(scene, service, bare)
        bare.close()
    ratios = [a / b for a, b in zip(rates, bare_rates, strict=True)]
    of_same_calls = [a / b for a, b in zip(rates, best_rates, strict=True)]
    of_confirmed = [a / b for a, b in zip(rates, confirmed_rates, strict=True)]
    bound = (os.cpu_count() or 1) / median(servers_ms) * 1000
    return [
        Figure(
            name="nomad_in_flight",
            what=f"dispatch alone, {AT_ONCE} at a time, nothing placed",
            goal=f"at least {GOAL} of the bare API's rate over {threads} threads",
            measured=f"{median(ratios):.2f} ({median(rates):.0f}/s beside {median(bare_rates):.0f}/s)",
            reached=median(ratios) >= GOAL,
            values={
                "ratio": median(ratios),
                "first_ratio": ratios[0],
                "last_ratio": ratios[-1],
                "dispatched_per_s": median(rates),
                "bare_per_s": median(bare_rates),
            },
        ),
        Figure(
            name="nomad_in_flight",
            what="beside a bare loop that makes the same calls (mint, claim, extend, dispatch)",
            goal=f"at least {SAME_CALLS_GOAL} of its rate",
            measured=(
                f"{median(of_same_calls):.2f} ({median(rates):.0f}/s beside "
                f"{median(best_rates):.0f}/s, which is {median(best_rates) / median(bare_rates):.2f} "
                "of the bare API's)"
            ),
            reached=median(of_same_calls) >= SAME_CALLS_GOAL,
            values={"best_per_s": median(best_rates), "ratio": median(of_same_calls)},
        ),
        Figure(
            name="nomad_in_flight",
            what="beside a bare loop that keeps the same promises in six calls (it also reads each job back "
            "and writes its name into the claim)",
            goal=f"at least {SAME_CALLS_GOAL} of its rate",
            measured=(
                f"{median(of_confirmed):.2f} ({median(rates):.0f}/s beside "
                f"{median(confirmed_rates):.0f}/s)"
            ),
            reached=median(of_confirmed) >= SAME_CALLS_GOAL,
            values={"confirmed_per_s": median(confirmed_rates), "ratio": median(of_confirmed)},
        ),
        Figure(
            name="nomad_in_flight",
            what="beside it: what Nomad and OpenBao alone spend on each of these runs",
            goal="",
            measured=(
                f"{median(servers_ms):.1f} ms of CPU: {bound:.0f}/s at most on these cores, "
                f"{bound / median(bare_rates):.2f} of the bare API's rate, if the dispatcher cost "
                "nothing"
            ),
            reached=None,
            values={"servers_cpu_ms": median(servers_ms), "bound_per_s": bound},
        ),
        Figure(
            name="nomad_in_flight",
            what=f"calls to Nomad at rest, {RUNS:,} in flight beside {FEW}",
            goal="not more with more runs",
            measured=f"{many_calls:.2f} a second beside {few_calls:.2f}",
            reached=many_calls <= few_calls + SLACK_CALLS_S,
            values={"many_per_s": many_calls, "few_per_s": few_calls},
        ),
        Figure(
            name="nomad_in_flight",
            what=f"{RUNS:,} in flight: memory of `serve`",
            goal="",
            measured=f"{many_mb:.0f} MB, {few_mb:.0f} MB with {FEW}",
            reached=None,
            values={"rss_mb": many_mb, "few_rss_mb": few_mb},
        ),
        Figure(
            name="nomad_in_flight",
            what=f"{RUNS:,} in flight: end of a child (stopped in Nomad) to its result",
            goal="",
            measured=f"p50 {median(ends_s):.2f} s, p95 {percentile(ends_s, 95):.2f} s",
            reached=None,
            values={"p50_s": median(ends_s), "p95_s": percentile(ends_s, 95)},
        ),
    ]


def _seconds(bare: Bare, dispatch: Callable[[], list[str]]) -> float:
    """Seconds of a bare loop, whose jobs are removed afterwards."""
    began = time.monotonic()
    children = dispatch()
    took = time.monotonic() - began
    bare.purge(children)
    return took


def _calls_s(bare: Bare, number: int, *, threads: int, confirmed: bool = False) -> float:
    """Seconds of a bare loop that also claims."""
    loop = partial(bare.claim_and_dispatch_all, number, threads=threads, confirmed=confirmed)
    return _seconds(bare, loop)


def _servers_cpu_s(stage: Stage, server: Nomad) -> float:
    """CPU seconds of OpenBao, and of Nomad where it runs here."""
    processes = [stage.server.process, server.process]
    return sum(cpu_s(process.pid) for process in processes if process is not None)


def _dispatched(scene: Scene, service: Commanded, number: int) -> float:
    """Runs a second, from the push to the last dispatch."""
    names = [f"d{next(_numbers):06}" for _ in range(number)]
    began = time.monotonic()
    push_actions(scene.remote, names)
    service.command("look")
    return number / (service.wait_submitted(names, timeout_s=LONGEST_S) - began)


def _at_rest(service: Commanded) -> tuple[float, float]:
    """Calls to Nomad a second, and megabytes."""
    settle(service)
    before, began = service.calls(), time.monotonic()
    time.sleep(REST_S)
    calls, took = service.calls() - before, time.monotonic() - began
    nomad_calls = sum(n for name, n in calls.items() if name.startswith("nomad"))
    return nomad_calls / took, service.rss_mb()


def _ended(scene: Scene, service: Commanded, bare: Bare) -> list[float]:
    """Seconds from a child's end to its result on the remote, one by one."""
    seconds = []
    with Arrivals(scene.remote) as arrivals:
        for number, child in enumerate(list(service.children.values())[:ENDINGS], 1):
            began = time.monotonic()
            bare.api.stop(child)
            seconds.append(arrivals.wait(number, timeout_s=LONGEST_S) - began)
    return seconds
