"""The web page beside 100,000 runs: its first page, and event streams that listen and that never read.

The page is ``disinto web`` in a process of its own, on the loopback. What it follows is a real dispatcher: over a
fake engine for the first page and the events, over the local engine for output that nobody reads.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from bench import git_growth
from bench.arrivals import Arrivals
from bench.commanded import Commanded, commanded, settle
from bench.figures import Figure, median, percentile
from bench.listeners import Listeners, Silent
from bench.processes import cpu_s, own_mb, tree
from bench.stage import ROOT, Stage, push_actions, served
from dispatcher.devservers.scene import Scene
from dispatcher.model.result import Result, ResultFormula
from dispatcher.model.verdicts import Verdict
from dispatcher.page.streams import MOST

RUNS = 100_000
LISTENING, SILENT = 500, 1_000
LOADS = 40
"""How often each address is loaded."""

CHANGES = 20

SIZE_BYTES, LOAD_MS, EVENT_S = 100_000, 200.0, 1.0
MEMORY_MB, IDLE_PERCENT, SILENT_MB = 250.0, 5.0, 400.0
"""Goals: of the first page, of an event; and memory and CPU of the page with streams."""

UNREAD_S = 180.0
"""Seconds after which streams that never read are counted as kept."""

STILL_S = 10.0
"""Seconds for which the CPU of streams is measured in which nothing happens."""

LONGEST_S = 900.0

OPENED = {
    "all": "/",
    "of one formula": "/?formula=backup",
    "of one verdict": "/?state=failed",
    "by a word of the reason": "/?text=disk+full",
    "by a word that nothing has": "/?text=no-such-thing-anywhere",
}

RUN = "noisy-1"
NOISY = """#!/bin/bash
line=$(printf '%01000d' 7)
while :; do for i in {1..400}; do echo "$line"; done; sleep 0.2; done
"""
"""Writes 2 MB a second for as long as somebody lets it."""


def measure(
    stage: Stage, *, runs: int = RUNS, listening: int = LISTENING, silent: int = SILENT
) -> list[Figure]:
    """The first page and events beside many runs; then streams that never read."""
    scene = _with_history(stage, runs)
    with ExitStack() as stack:
        service = stack.enter_context(commanded(scene, fake=True))
        page = stack.enter_context(web(scene))
        took_s = page.indexed(runs)
        settle(service)
        figures = [_first_page(page, runs, took_s)]
        quiet_mb = page.memory_mb()
        with Listeners(page.address, page.cookie, listening) as listeners:
            listeners.ready(LONGEST_S)
            cpu = page.cpu_percent(STILL_S)
            before = cpu_s(page.pid)
            delays = _changes(_remote(scene), service, page, listeners)
            busy = (cpu_s(page.pid) - before) / CHANGES
            figures += _listened(listening, page.memory_mb(), quiet_mb, cpu, busy, *delays)
    return [*figures, _unread(stage, silent)]


@dataclass(kw_only=True)
class Web:
    """``disinto web`` of an operator, who is logged in.

    Attributes:
        cookie: of the session, as a header.
    """

    pid: int
    client: httpx.Client

    @property
    def address(self) -> tuple[str, int]:
        return self.client.base_url.host, int(self.client.base_url.port or 0)

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())

    def memory_mb(self) -> float:
        """Of the page and the processes it has started, in millions of bytes."""
        return sum(map(own_mb, tree(self.pid)))

    def cpu_percent(self, seconds: float) -> float:
        """Of one core, while nothing is asked of it."""
        before = cpu_s(self.pid)
        time.sleep(seconds)
        return (cpu_s(self.pid) - before) / seconds * 100

    def indexed(self, runs: int) -> float:
        """Wait until all results are listed; seconds since the call."""
        begun = time.monotonic()
        while True:
            shown = self.client.get("/overview.json").json()
            took = time.monotonic() - begun
            if shown["total"] == runs and not shown["unread"]:
                return took
            if took > LONGEST_S:
                raise TimeoutError(f"{shown['total']} of {runs} results are listed")
            time.sleep(0.2)


@contextmanager
def web(scene: Scene) -> Iterator[Web]:
    """The page until the block ends."""
    words = ("--config", str(scene.config), "web", "--port", "0", "--print")
    with (scene.root / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", *words],
            env={**scene.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        origin = link.partition("/enter/")[0]
        headers = {"Accept": "text/html"}
        with httpx.Client(base_url=origin, headers=headers, timeout=60) as client:
            client.get(link)
            yield Web(pid=process.pid, client=client)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            process.kill()


def _remote(scene: Scene) -> Path:
    return Path(scene.open_settings().ops_repo.remote)


def _with_history(stage: Stage, runs: int) -> Scene:
    """A scene whose ops repo holds so many ended runs, a thousand of them not archived."""
    remote = stage.folder / "page-ops.git"
    git_growth.git(stage.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    folders: dict[str, list[tuple[str, bytes]]] = {"formulas": [("hello.sh", b"echo hello\n")]}
    now = time.time()
    for number in range(runs):
        month = git_growth.MONTHS[number % len(git_growth.MONTHS)]
        place = "vault/actions" if number < min(1_000, runs // 2) else f"vault/done/{month}"
        action_id = f"run-{number:06}"
        action = f'id = "{action_id}"\nformula = "hello"\ncontext = ""\nsecrets = []\n'
        result = _result(action_id, number, at=now - number * 60).to_json().encode()
        folders.setdefault(place, []).extend(
            [(f"{action_id}.toml", action.encode()), (f"{action_id}.result.json", result)]
        )
    git_growth.build(remote, folders)
    return stage.scene(
        ops_repo={"remote": str(remote)},
        archive={"automatic": False},
        attestation={"enabled": False},
    )


def _result(action_id: str, number: int, *, at: float) -> Result:
    good = number % 7 != 0
    return Result(
        id=action_id,
        exit_code=0 if good else 1,
        timestamp=datetime.fromtimestamp(at, UTC).isoformat(),
        verdict=Verdict.SUCCEEDED if good else Verdict.FAILED,
        error="" if good else f"disk full on node-{number % 50} while copying volume {number}",
        formula=ResultFormula(name=("deploy", "backup", "rotate")[number % 3]),
    )


def _first_page(page: Web, runs: int, indexed_s: float) -> Figure:
    """Size and time of the overview and its filters: the worst of them."""
    worst: dict[str, tuple[float, float, int]] = {}
    for name, path in OPENED.items():
        took, size = [], 0
        for _ in range(LOADS):
            begun = time.perf_counter()
            answer = page.client.get(path)
            took.append((time.perf_counter() - begun) * 1_000)
            size = max(size, len(answer.content))
        worst[name] = (median(took), percentile(took, 95), size)
    slowest = max(worst, key=lambda name: worst[name][1])
    p50, p95, _ = worst[slowest]
    size = max(size for _, _, size in worst.values())
    shown = ", ".join(f"{name} {worst[name][1]:.0f}" for name in worst)
    return Figure(
        name="page",
        what=f"the overview beside {runs:,} ended runs, and with each filter, {LOADS} times",
        goal=f"under {SIZE_BYTES // 1000} KB, 95 % within {LOAD_MS:g} ms",
        measured=f"{size / 1000:.0f} KB; 95 % within {p95:.0f} ms ({shown} ms); "
        f"all listed {indexed_s:.0f} s after the first start",
        reached=size < SIZE_BYTES and p95 <= LOAD_MS,
        values={"bytes": size, "p50_ms": p50, "p95_ms": p95, "indexed_s": indexed_s},
    )


def _changes(
    remote: Path, service: Commanded, page: Web, listeners: Listeners
) -> tuple[list[float], list[float]]:
    """Seconds from the moment at which a run was submitted until the last of all streams has announced a version
    that shows it; and until a program that fetches the overview at each event has seen it there.
    """
    announced, seen = [], []
    for number in range(CHANGES):
        name = f"n{number:03}"
        listeners.quiet(2.0)
        listeners.forget()
        with Arrivals(remote) as arrivals:
            push_actions(remote, [name])
            service.command("look")
            version = ""
            while True:
                version = listeners.next(version, LONGEST_S)
                shown = page.client.get("/overview.json", params={"text": name}).json()
                states = [each["action"]["state"] for each in shown["running"]["actions"]]
                if states and states[0] != "starting":
                    break
            now = time.monotonic()
            changed = service.wait_submitted([name], timeout_s=LONGEST_S)
            seen.append(now - changed)
            announced.append(listeners.all_heard(version, LONGEST_S) - changed)
            service.command("end", 1)
            arrivals.wait(1, timeout_s=LONGEST_S)
    return announced, seen


def _listened(
    count: int,
    full_mb: float,
    quiet_mb: float,
    idle: float,
    busy: float,
    announced: list[float],
    seen: list[float],
) -> list[Figure]:
    slowest, shown = percentile(announced, 95), percentile(seen, 95)
    return [
        Figure(
            name="page",
            what=f"{count} open event streams: from the submission of a run until the last of them has "
            f"announced it, {len(announced)} times",
            goal=f"95 % within {EVENT_S:g} s",
            measured=f"95 % within {slowest:.2f} s, median {median(announced):.2f} s; "
            f"fetched and shown within {shown:.2f} s",
            reached=slowest <= EVENT_S,
            values={"p95_s": slowest, "median_s": median(announced), "shown_p95_s": shown},
        ),
        Figure(
            name="page",
            what=f"{count} open event streams: memory of the page, and its CPU",
            goal=f"at most {MEMORY_MB:g} MB; at most {IDLE_PERCENT:g} % of a core while nothing happens",
            measured=f"{full_mb:.0f} MB, {quiet_mb:.0f} MB with none; {idle:.1f} % of a core while nothing "
            f"happens, {busy * 1_000:.0f} ms of CPU per run",
            reached=full_mb <= MEMORY_MB and idle <= IDLE_PERCENT,
            values={"mb": full_mb, "empty_mb": quiet_mb, "idle_percent": idle, "s_per_run": busy},
        ),
    ]


def _unread(stage: Stage, count: int) -> Figure:
    """Streams of the output of a run that writes without end; nobody takes it."""
    scene = _noisy(stage)
    with served(scene), web(scene) as page:
        path = _running(scene, page)
        quiet_mb = page.memory_mb()
        silent = Silent.opened(page.address, path, page.cookie, count)
        try:
            loads, highest, ends = _until_dropped(page, silent)
        finally:
            silent.close()
            _cancel(scene)
        left_mb = page.memory_mb()
    slowest = percentile(loads, 95)
    held = count - ends["refused"]
    return Figure(
        name="page",
        what=f"{count:,} streams of output that never read, of a run that writes 2 MB/s",
        goal=f"at most {MOST} are held, and these are dropped; all are told when to come back; at most "
        f"{SILENT_MB:g} MB; the overview answers meanwhile",
        measured=f"{ends['refused']} refused, {ends['dropped']} dropped, {ends['open']} left open; "
        f"{ends['told']} told when to come back; {highest:.0f} MB at most, {quiet_mb:.0f} MB before, "
        f"{left_mb:.0f} MB after; overview: 95 % within {slowest:.0f} ms of {len(loads)} loads",
        reached=held <= MOST
        and not ends["open"]
        and ends["told"] == count
        and highest <= SILENT_MB,
        values={**{k: float(v) for k, v in ends.items()}, "mb": highest, "load_p95_ms": slowest},
    )


def _until_dropped(page: Web, silent: Silent) -> tuple[list[float], float, Counter[str]]:
    """Load the overview until none of them is open; milliseconds, memory at most, and how they ended."""
    loads, highest = [], 0.0
    begun = time.monotonic()
    while True:
        at = time.perf_counter()
        page.client.get("/").raise_for_status()
        loads.append((time.perf_counter() - at) * 1_000)
        highest = max(highest, page.memory_mb())
        ends = silent.ends()
        if not ends["open"] or time.monotonic() - begun > UNREAD_S:
            return loads, highest, ends
        time.sleep(0.5)


def _noisy(stage: Stage) -> Scene:
    """A scene with a formula that writes without end."""
    server = stage.server.with_own_mount()
    root = stage.folder / "page-noisy"
    root.mkdir()
    return Scene.set(
        root,
        server,
        values={},
        settings={"vault": {"kv_mount": server.kv_mount}, "ops_repo": {"poll_interval_s": 1.0}},
        tiers={"noisy": "low"},
        formulas={"noisy.sh": NOISY},
    )


def _running(scene: Scene, page: Web) -> str:
    """Start the run; the address of its output, once there is some."""
    text = f'id = "{RUN}"\nformula = "noisy"\ncontext = ""\nsecrets = []\n'
    scene.merge({f"vault/actions/{RUN}.toml": text}, "Make noise")
    path = f"/actions/{RUN}/log"
    begun = time.monotonic()
    while time.monotonic() - begun < LONGEST_S:
        with page.client.stream("GET", path) as answer:
            for line in answer.iter_lines():
                if line == "event: output":
                    return path
                if line == "event: end":
                    break
        time.sleep(0.5)
    raise TimeoutError("the run does not start")


def _cancel(scene: Scene) -> None:
    """A run outlives ``serve``, and this one would never end."""
    words = ("--config", str(scene.config), "cancel", RUN)
    subprocess.run(
        [sys.executable, "-m", "dispatcher", *words],
        env={**scene.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=120,
    )
