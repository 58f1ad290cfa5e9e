"""300 trivial actions in one push, beside the bare runner: ``python -m bench --only throughput``.

The bare runner executes the same payloads under the same OpenBao, as many at a time; its grants are
minted, and its directories are made, before its clock starts. The dispatcher's clock starts with
the push and stops when the last result is on the remote. Half of the bare runs come before, half after:
the machine's own rate moves within a minute.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from statistics import harmonic_mean

from bench.arrivals import Arrivals
from bench.figures import Figure, median
from bench.stage import FORMULA, Stage, push_actions, served
from dispatcher.assembly import build_components
from dispatcher.devservers.scene import Scene
from dispatcher.engines.local import sandbox
from dispatcher.engines.local.launch import launch
from dispatcher.engines.local.spool import Spool
from dispatcher.model.payload import encode_payload
from dispatcher.model.run import RunSpec
from dispatcher.settings import Settings
from tests.servers.grants import Minter

ACTIONS = 300
ROUNDS = 3
GOAL = 0.8
LONGEST_S = 180.0

_numbers = count(1)


def measure(stage: Stage, *, actions: int = ACTIONS, rounds: int = ROUNDS) -> list[Figure]:
    """Rates of both, and their ratio."""
    scene = stage.scene()
    bare: list[float] = []
    dispatcher_rates: list[float] = []
    ratios: list[float] = []
    cpu: list[float] = []
    with served(scene) as dispatcher:
        dispatched(scene, dispatcher.notify, 10)
        for _ in range(rounds):
            before = bare_runner(scene, actions // 2)
            cpu_s = dispatcher.cpu_s()
            dispatcher_rates.append(dispatched(scene, dispatcher.notify, actions))
            cpu.append((dispatcher.cpu_s() - cpu_s) / actions * 1000)
            bare.append(harmonic_mean([before, bare_runner(scene, actions // 2)]))
            ratios.append(dispatcher_rates[-1] / bare[-1])
    at_once = scene.open_settings().limits.max_in_flight
    return [
        Figure(
            name="throughput",
            what=f"{actions} trivial actions in one push, to the last result on the remote",
            goal=f"at least {GOAL} of the bare runner's rate, {at_once} at a time",
            measured=f"{median(ratios):.2f} ({median(dispatcher_rates):.1f}/s beside {median(bare):.1f}/s)",
            reached=median(ratios) >= GOAL,
            values={
                "ratio": median(ratios),
                "lowest_ratio": min(ratios),
                "highest_ratio": max(ratios),
                "dispatched_per_s": median(dispatcher_rates),
                "bare_per_s": median(bare),
                "dispatcher_cpu_ms_per_action": median(cpu),
            },
        )
    ]


def dispatched(
    scene: Scene, notify: Callable[[], object], actions: int, *, longest_s: float = LONGEST_S
) -> float:
    """Actions per second, from the push to the last result on the remote.

    Args:
        notify: notifies the dispatcher of the push.
    """
    names = [f"a{next(_numbers):06}" for _ in range(actions)]
    with Arrivals(scene.remote, look_s=0.05) as arrivals:
        begun = time.monotonic()
        push_actions(scene.remote, names)
        notify()
        took = arrivals.wait(actions, timeout_s=longest_s) - begun
    mine = set(names)
    failed = [r for i, r in scene.results().items() if i in mine and r["exit_code"] != 0]
    if failed:
        raise AssertionError(f"{len(failed)} of {actions} failed: {failed[0]}")
    return actions / took


def bare_runner(scene: Scene, actions: int) -> float:
    """Runs per second of the runner's command alone."""
    settings = scene.open_settings()
    bare = settings.model_copy(update={"state_dir": scene.root / "bare"})
    (bare.state_dir / "runs").mkdir(parents=True, exist_ok=True)
    work = iter(_prepared(scene, bare, actions))
    guard = threading.Lock()
    failed: list[str] = []

    def worker() -> None:
        while True:
            with guard:
                mine = next(work, None)
            if mine is None:
                return
            spool, payload, command = mine
            lock = spool.hold()
            assert lock is not None
            process = launch(spool, payload, lock=lock, settings=bare, sandbox=command)
            os.close(lock)
            process.wait()
            outcome = spool.outcome()
            if outcome is None or not outcome.verdict.success:
                failed.append(str(outcome))

    workers = [threading.Thread(target=worker) for _ in range(settings.limits.max_in_flight)]
    begun = time.monotonic()
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    took = time.monotonic() - begun
    if failed:
        raise AssertionError(f"{len(failed)} bare runs failed: {failed[0]}")
    return actions / took


def _prepared(
    scene: Scene, settings: Settings, actions: int
) -> list[tuple[Spool, bytes, list[str]]]:
    parts = build_components(settings, environ=scene.environ)
    specs = Minter(bao=scene.server, prefix="disinto/runner")  # type: ignore[arg-type]
    box = sandbox.find(settings)[0]
    prepared = []
    for _ in range(actions):
        spec: RunSpec = specs.spec(FORMULA)
        spec = replace(spec, key=replace(spec.key, action_id=f"bare{next(_numbers):06}"))
        wrapped = parts.grants.mint(spec.key, (), lifetime_s=600)
        spool = Spool(settings.state_dir / "runs", spec.key)
        spool.path.mkdir()
        spool.prepare()
        command = box.command(spool, ()) if box else []
        prepared.append((spool, encode_payload(spec, wrapped), command))
    parts.grants.close()
    return prepared
