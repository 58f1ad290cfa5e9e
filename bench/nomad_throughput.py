"""300 trivial actions on Nomad, beside a bare loop over its dispatch API on the same agent.

The bare loop dispatches children of the same parent job with the same payloads, whose grants are
minted before its clock starts, and waits until Nomad says that the last has ended. It claims
nothing, confirms nothing, and brings no result anywhere. The two take turns.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter

from bench import throughput
from bench.commanded import Commanded, commanded, settle
from bench.figures import Figure, median
from bench.nomad_stage import (
    AT_ONCE,
    LONGEST_S,
    Bare,
    agent,
    listener_out_of_reach,
    scene_on,
    with_listener,
    with_notices,
)
from bench.stage import Stage
from dispatcher.devservers.scene import Scene
from tests.servers.nomad import Nomad

ACTIONS = 300
ROUNDS = 2
GOAL = 0.9
CALLS_GOAL = 7
FEWER = 100
"""Actions for the calls in other settings than the default."""

SHELL_ACTIONS = 100
POLL_S = 5.0


def measure(stage: Stage, *, actions: int = ACTIONS, rounds: int = ROUNDS) -> list[Figure]:
    """The ratio, the calls that a run takes, and what a shell loop does."""
    bare_rates: list[float] = []
    rates: list[float] = []
    with agent() as server:
        with scene_on(stage, server, **with_listener()) as scene, commanded(scene) as service:
            bare = Bare(scene, server)
            _dispatched(scene, service, 10)
            calls: Counter[str] = Counter()
            for _ in range(rounds):
                bare_rates.append(_bare(bare, actions))
                rate, made = _counted(scene, service, actions)
                rates.append(rate)
                calls += made
            shell_s = _shell_loop(server, bare)
            bare.close()
        with scene_on(stage, server, **with_notices()) as scene, commanded(scene) as service:
            _dispatched(scene, service, 10)
            _, noticed = _counted(scene, service, FEWER)
        with (
            scene_on(stage, server, **listener_out_of_reach()) as scene,
            commanded(scene) as service,
        ):
            _dispatched(scene, service, 10)
            _, unheard = _counted(scene, service, FEWER)
    ratios = [a / b for a, b in zip(rates, bare_rates, strict=True)]
    ours_s = SHELL_ACTIONS / median(rates)
    return [
        Figure(
            name="nomad_throughput",
            what=f"{actions} trivial actions (raw_exec) in one push, to the last result",
            goal=f"at least {GOAL} of a bare loop over the dispatch API",
            measured=(
                f"{median(ratios):.2f} ({median(rates):.1f}/s beside {median(bare_rates):.1f}/s; "
                f"at most {AT_ONCE} in flight)"
            ),
            reached=median(ratios) >= GOAL,
            values={
                "ratio": median(ratios),
                "lowest_ratio": min(ratios),
                "dispatched_per_s": median(rates),
                "bare_per_s": median(bare_rates),
            },
        ),
        _calls("nomad", calls, actions * rounds, goal=CALLS_GOAL),
        _calls("nomad", noticed, FEWER, goal=CALLS_GOAL, how=", with `[nomad] listener_url`"),
        _calls("nomad", unheard, FEWER, goal=CALLS_GOAL, how=", where runners reach no listener"),
        _calls("vault", calls, actions * rounds),
        Figure(
            name="nomad_throughput",
            what=f"beside it: {SHELL_ACTIONS} times `nomad job dispatch` in a shell loop, then a "
            f"poll every {POLL_S:g} s until all have ended",
            goal="",
            measured=f"{shell_s:.0f} s; the dispatcher's rate makes {ours_s:.0f} s of it",
            reached=None,
            values={"shell_s": shell_s},
        ),
    ]


def _dispatched(scene: Scene, service: Commanded, actions: int) -> float:
    """Actions a second, from the push to the last result on the remote."""
    return throughput.dispatched(
        scene, lambda: service.command("look"), actions, longest_s=LONGEST_S
    )


def _counted(scene: Scene, service: Commanded, actions: int) -> tuple[float, Counter[str]]:
    """Actions a second, and the requests that they took."""
    settle(service)
    before = service.calls()
    rate = _dispatched(scene, service, actions)
    settle(service)
    return rate, service.calls() - before


def _bare(bare: Bare, actions: int) -> float:
    payloads = bare.payloads(actions)
    began = time.monotonic()
    children = bare.dispatch_all(payloads, threads=1)
    took = bare.wait(children) - began
    if bare.succeeded(children) != actions:
        raise AssertionError(f"{bare.succeeded(children)} of {actions} bare jobs succeeded")
    bare.purge(children)
    return actions / took


def _calls(
    who: str, calls: Counter[str], runs: int, *, goal: float | None = None, how: str = ""
) -> Figure:
    counts = {name.partition(": ")[2]: n for name, n in calls.items() if name.startswith(who)}
    kinds = {name: n for name, n in sorted(counts.items()) if n >= runs * 0.05}
    per_run = ", ".join(f"{name} {n / runs:.2f}" for name, n in kinds.items())
    return Figure(
        name="nomad_throughput",
        what=f"calls of the dispatcher to {who.capitalize()} for each run{how}",
        goal="" if goal is None else f"at most {goal:g}",
        measured=f"{sum(counts.values()) / runs:.1f} ({per_run})",
        reached=None if goal is None else sum(counts.values()) / runs <= goal,
        values={"calls_per_run": sum(counts.values()) / runs},
    )


SHELL_JOB = """
job "{name}" {{
  type = "batch"
  parameterized {{
    payload       = "optional"
    meta_required = ["id"]
  }}
  group "run" {{
    restart {{ attempts = 0 }}
    reschedule {{ attempts = 0 }}
    task "run" {{
      driver = "raw_exec"
      config {{
        command = "/bin/sh"
        args    = ["-c", "echo hello"]
      }}
      resources {{
        cpu    = 50
        memory = 128
      }}
    }}
  }}
}}
"""

SHELL_LOOP = """
children=()
for number in $(seq {count}); do
  child=$(nomad job dispatch -detach -meta id=$number {name} | sed -n 's/^Dispatched Job ID *= //p')
  children+=("$child")
done
while sleep {poll_s}; do
  left=0
  for child in "${{children[@]}}"; do
    nomad job status -short "$child" | grep "^Status *= dead" >/dev/null || {{ left=1; break; }}
  done
  test $left = 0 && break
done
"""


def _shell_loop(server: Nomad, bare: Bare) -> float:
    """Seconds of the loop; its job only says hello, without runner, grant or secret."""
    name = server.unique("shell")
    bare.api.register(bare.api.parse(SHELL_JOB.format(name=name), canonicalize=True))
    script = SHELL_LOOP.format(count=SHELL_ACTIONS, name=name, poll_s=POLL_S)
    began = time.monotonic()
    subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": "/", **server.environ},
        check=True,
        timeout=LONGEST_S,
        stderr=subprocess.DEVNULL,
    )
    took = time.monotonic() - began
    children = [job["ID"] for job in bare.api.jobs(prefix=name)]
    bare.purge(children)
    return took
