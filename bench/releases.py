"""Releases: a deploy that the timer starts and that finds nothing to do, and for how long a release interrupts
a service.
"""

from __future__ import annotations

import http
import http.client
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from bench.figures import Figure, median
from bench.stage import Stage
from dispatcher.release.outcome import Outcome
from tests.support.release_live import Services
from tests.support.release_services import BACKEND
from tests.support.release_stage import ReleaseStage

RUNS = 15
RELEASES = 5
GOAL_MS = 1_000.0
_PAUSE_S = 0.005
_ANSWER_S, _PATIENCE_S = 2.0, 60.0


def measure(_stage: Stage, *, runs: int = RUNS, releases: int = RELEASES) -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        first = _no_op(Path(directory), runs)
    with tempfile.TemporaryDirectory() as directory:
        return [first, _downtime(Path(directory), releases)]


def _no_op(directory: Path, runs: int) -> Figure:
    """Each run starts a process, fetches from a bare repository on this machine, and ends."""
    machine = ReleaseStage(directory)
    machine.deploy()
    program = str(Path(sys.executable).with_name("disinto"))
    command = [program, "release", "deploy", "--timer", "--root", str(machine.root)]
    fetch = ["git", "-C", str(machine.root / "src"), "fetch", "-q", str(machine.remote), "main"]
    took: dict[str, list[float]] = {"no_op": [], "fetch": []}
    for _ in range(runs + 1):
        for name, words in (("no_op", command), ("fetch", fetch)):
            began = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True)
            took[name].append((time.perf_counter() - began) * 1_000)
    no_op, alone = median(took["no_op"][1:]), median(took["fetch"][1:])
    return Figure(
        name="release_no_op",
        what="`disinto release deploy --timer` with nothing to do",
        goal=f"at most {GOAL_MS:g} ms",
        measured=f"{no_op:.0f} ms, of which `git fetch` alone {alone:.0f} ms",
        reached=no_op <= GOAL_MS,
        values={"ms": no_op, "fetch_ms": alone},
    )


def _downtime(directory: Path, releases: int) -> Figure:
    """Of a small API, which is called every few milliseconds during releases, as against restarts of its
    process alone. Both are from the last answer before to the first one after.
    """
    services = Services(directory)
    try:
        services.deploy()
        released, restarted = [], []
        for number in range(releases):
            services.push({"number": str(number)})
            with _gap(services.port) as gap:
                last = services.deploy()
            if last.outcome != Outcome.DEPLOYED:
                raise AssertionError(last.message)
            released.append(gap())
            with _gap(services.port) as gap:
                services.processes.restart(BACKEND)
            restarted.append(gap())
    finally:
        services.processes.stop_all()
    down, alone = median(released), median(restarted)
    return Figure(
        name="release_downtime",
        what="a small API does not answer during a release",
        goal="",
        measured=f"{down:.0f} ms; during a restart of its process alone {alone:.0f} ms",
        reached=None,
        values={"ms": down, "restart_ms": alone},
    )


@contextmanager
def _gap(port: int) -> Iterator[Callable[[], float]]:
    """Call the API all the time; what is returned gives the longest time without an answer, in
    milliseconds, as soon as it has answered again after the block.
    """
    answered, ended = [_answered(port)], threading.Event()

    def call() -> None:
        while not ended.wait(_PAUSE_S):
            answered.append(_answered(port))

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield lambda: 1_000 * max(b - a for a, b in pairwise(answered))
    finally:
        ended.set()
        caller.join()
        answered.append(_answered(port))


def _answered(port: int) -> float:
    """When the API answered, as soon as it does."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return time.perf_counter()
        except (OSError, http.client.HTTPException):
            if time.monotonic() > until:
                raise
        finally:
            connection.close()
        time.sleep(_PAUSE_S)
