"""What the runner adds to a formula: ``python -m bench.runner_cost``.

CPU time (user and system, of all processes) and wall time a run: the formula under bare bash, the
bare interpreter, and the runner with a real grant of a real OpenBao and two secrets, without and
with bubblewrap. The server's own CPU time is not counted.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure
from bench.stage import Stage
from dispatcher.engines.local import sandbox
from dispatcher.engines.local.launch import environment, launch
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.engines.local.spool import Spool
from dispatcher.model.payload import encode_payload
from dispatcher.model.run import RunSpec
from dispatcher.settings import Settings
from tests.servers import bao
from tests.servers.grants import Minter

RUNS = 40
GOAL_MS = 150.0
FORMULA = 'echo "$FIRST"; echo "$SECOND" >&2; echo "done"\n'
SECRETS = ("FIRST", "SECOND")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Milliseconds a run."""

    cpu: float
    wall: float


def cost(work: Callable[[int], None]) -> Cost:
    work(0)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for number in range(1, RUNS + 1):
        work(number)
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu=cpu / RUNS * 1000, wall=wall / RUNS * 1000)


def runner(minter: Minter, settings: Settings, name: str) -> Callable[[int], None]:
    """One runner a call; specs and grants are made beforehand, since minting is not its work."""
    box = sandbox.find(settings)[0]
    prepared: list[tuple[RunSpec, bytes]] = []
    for _ in range(RUNS + 1):
        spec = minter.spec(FORMULA, secrets=SECRETS)
        prepared.append((spec, encode_payload(spec, minter.mint(*SECRETS))))

    def run(number: int) -> None:
        spec, payload = prepared[number]
        spool = Spool(settings.state_dir / "runs", spec.key)
        lock = spool.hold()
        assert lock is not None
        spool.prepare()
        command = box.command(spool, ()) if box else []
        process = launch(spool, payload, lock=lock, settings=settings, sandbox=command)
        os.close(lock)
        process.wait()
        outcome = spool.outcome()
        if outcome is None or outcome.exit_code:
            sys.exit(f"{name}: {outcome}")

    return run


def costs() -> list[tuple[str, Cost]]:
    """What a run costs in each way, bare bash first."""
    with bao.serve() as server, tempfile.TemporaryDirectory(prefix="disinto-bench-") as folder:
        minter = Minter(bao=server).prepare()
        for name in SECRETS:
            minter.put(name, f"a secret value for {name}")
        script = Path(folder) / "formula.sh"
        script.write_text(FORMULA)
        plain = Settings(state_dir=Path(folder) / "state")
        (plain.state_dir / "runs").mkdir(parents=True)
        bare = plain.model_copy(
            update={"local": plain.section(LocalSettings).model_copy(update={"bubblewrap": False})}
        )
        env = environment(plain)

        def call(*command: str) -> Callable[[int], None]:
            def one(_number: int) -> None:
                subprocess.run(
                    command, env=env, check=True, capture_output=True, stdin=subprocess.DEVNULL
                )

            return one

        rows = [
            ("bash, the bare formula", cost(call("bash", str(script)))),
            ("python -I -S -c pass", cost(call(sys.executable, "-I", "-S", "-c", "pass"))),
            ("runner", cost(runner(minter, bare, "runner"))),
        ]
        if sandbox.find(plain)[0]:
            rows.append(("runner, in bubblewrap", cost(runner(minter, plain, "sandboxed"))))
        return rows


def measure(_stage: Stage) -> list[Figure]:
    """What the runner adds in CPU time, with bubblewrap where there is one."""
    by_label = dict(costs())
    base, label = by_label["bash, the bare formula"], list(by_label)[-1]
    added = by_label[label].cpu - base.cpu
    return [
        Figure(
            name="runner_cost",
            what=f"CPU time that the {label.replace(',', '')} adds to a formula with two secrets",
            goal=f"under {GOAL_MS:g} ms",
            measured=(
                f"{added:.0f} ms ({by_label['runner'].cpu - base.cpu:.0f} ms without a sandbox; an "
                f"interpreter that does nothing: {by_label['python -I -S -c pass'].cpu:.0f} ms)"
            ),
            reached=added < GOAL_MS,
            values={"added_cpu_ms": added, "bash_cpu_ms": base.cpu},
        )
    ]


def main() -> None:
    rows = costs()
    base = rows[0][1]
    print(f"{RUNS} runs each{'':<15}{'CPU ms':>8}{'wall ms':>9}{'CPU over bash':>15}")
    for label, found in rows:
        print(f"{label:<25}{found.cpu:>8.1f}{found.wall:>9.1f}{found.cpu - base.cpu:>15.1f}")


if __name__ == "__main__":
    main()
