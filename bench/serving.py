"""``disinto serve``, under command: ``python -m bench.serving CONFIG [--fake]``.

The whole service with its real git remote, OpenBao, ledger, status file and metrics. With
``--fake`` only the engine is made up, so that any number of runs can be in flight and end at a
word. One command a line comes on standard input, and lines of JSON go out: what was submitted, and
answers. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.git_growth import push_seconds
from dispatcher.assembly import build_components, build_service, open_settings
from dispatcher.cli import interpreter
from dispatcher.cli.serve import listener
from dispatcher.engines.base import Scheduler
from dispatcher.engines.nomad.api.connection import Connection
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.loop.serve import Service
from dispatcher.model.progress import Progress
from dispatcher.model.run import Claim, Observation, RunKey, RunSpec, WrappedGrant
from dispatcher.operate.forecast import in_use
from dispatcher.ops_repo import OpsRepo
from dispatcher.status.metrics import Metrics
from dispatcher.status.snapshot import Counted, Snapshots, Trackers
from dispatcher.status.status_file import StatusFile
from dispatcher.status.tracker import Silent, Status
from dispatcher.vault.http import VaultHttp
from tests.fakes.scheduler import FakeScheduler

_telling = threading.Lock()


def tell(**facts: Any) -> None:
    """One line to whoever started this."""
    with _telling:
        print(json.dumps(facts), flush=True)


class Telling:
    """A scheduler that says when each run was submitted.

    Attributes:
        looks: calls that observe runs or read their progress, and by ``… of runs`` how many they were for.
    """

    def __init__(self, inner: Scheduler) -> None:
        self._inner = inner
        self.looks: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        self.looks.update({"observe": 1, "observe of runs": len(claims)})
        return self._inner.observe(claims)

    def progress(self, claims: Collection[Claim]) -> Mapping[RunKey, Progress]:
        self.looks.update({"progress": 1, "progress of runs": len(claims)})
        return self._inner.progress(claims)

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        child = self._inner.submit(spec, grant, again=again)
        tell(event="submitted", id=spec.key.action_id, child=child, at=time.monotonic())
        return child


class Rounds(Silent):
    """Keeps how long each round took, in milliseconds."""

    def __init__(self) -> None:
        self.took: list[float] = []

    def status(self, status: Status) -> None:
        self.took.append(status.round_s * 1_000)


class TimedRepo:
    """An ops repo that keeps how long each commit of results took, and its push, in milliseconds."""

    def __init__(self, repo: OpsRepo) -> None:
        self._repo = repo
        self._pushed_s = push_seconds(repo)
        self.commits: list[float] = []
        self.pushes: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repo, name)

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        began, pushed_s = time.monotonic(), self._pushed_s()
        try:
            return self._repo.publish(*args, **kwargs)
        finally:
            push = (self._pushed_s() - pushed_s) * 1_000
            self.pushes.append(push)
            self.commits.append((time.monotonic() - began) * 1_000 - push)


class Calls:
    """Counts the requests of this process to OpenBao and Nomad, whoever makes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.vault: Counter[str] = Counter()
        self.nomad: Counter[str] = Counter()
        to_vault, to_nomad, stream = VaultHttp.request, Connection.answer, Connection.stream

        def vault(http: VaultHttp, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            self._count(self.vault, path)
            return to_vault(http, method, path, *args, **kwargs)

        def nomad(connection: Connection, method: str, path: str, **kwargs: Any) -> Any:
            self._count(self.nomad, kwargs["endpoint"])
            return to_nomad(connection, method, path, **kwargs)

        def streamed(connection: Connection, path: str, **kwargs: Any) -> Any:
            self._count(self.nomad, kwargs["endpoint"])
            return stream(connection, path, **kwargs)

        Connection.stream = streamed  # type: ignore[method-assign,assignment]
        VaultHttp.request = vault  # type: ignore[method-assign,assignment]
        Connection.answer = nomad  # type: ignore[method-assign,assignment]

    def _count(self, calls: Counter[str], name: str) -> None:
        with self._lock:
            calls[name] += 1


def main() -> None:
    settings = open_settings(Path(sys.argv[1]))
    calls, rounds = Calls(), Rounds()
    fake = FakeScheduler() if "--fake" in sys.argv else None
    parts = build_components(settings, scheduler=fake)
    if fake is not None:
        fake.wake = parts.wake
    repo = TimedRepo(parts.repo)
    telling = Telling(parts.scheduler)
    parts = replace(parts, repo=repo, scheduler=telling)  # type: ignore[arg-type]
    pulse, metrics = Snapshots(in_use(settings)), Metrics()
    status_file = StatusFile(settings.state_dir, pulse.overview)
    service = build_service(parts, Trackers(pulse, status_file, Counted(metrics), rounds))
    obeying = (service, fake or FakeScheduler(), rounds, repo, calls, telling)
    threading.Thread(target=obey, args=obeying, daemon=True).start()
    hears_runners = fake is None and settings.section(NomadSettings).told_at(settings.http.listen)
    door = (
        listener(service, parts, pulse=pulse, metrics=metrics) if hears_runners else nullcontext()
    )
    with status_file, door:
        interpreter.prepare()
        service.run()


def obey(
    service: Service,
    fake: FakeScheduler,
    rounds: Rounds,
    repo: TimedRepo,
    calls: Calls,
    telling: Telling,
) -> None:
    """Carry out commands until the input ends."""

    def end(count: int) -> dict[str, Any]:
        keys = fake.running()[:count]
        notify, fake.wake = fake.wake, lambda: None
        at = time.monotonic()
        for key in keys:
            fake.end(key)
        fake.wake = notify
        notify()
        return {"at": at, "ids": [key.action_id for key in keys]}

    def stats(_count: int) -> dict[str, Any]:
        took, rounds.took = rounds.took, []
        return {"rounds_ms": took}

    def published(_count: int) -> dict[str, Any]:
        commits, pushes = repo.commits, repo.pushes
        repo.commits, repo.pushes = [], []
        return {"commits_ms": commits, "pushes_ms": pushes}

    def called(_count: int) -> dict[str, Any]:
        return {
            "vault": dict(calls.vault),
            "nomad": dict(calls.nomad),
            "engine": dict(telling.looks),
        }

    def look(_count: int) -> dict[str, Any]:
        at = time.monotonic()
        service.look_now()
        return {"at": at}

    commands: dict[str, Callable[[int], dict[str, Any]]] = {
        "calls": called,
        "end": end,
        "look": look,
        "published": published,
        "stats": stats,
    }
    for line in sys.stdin:
        name, _, count = line.strip().partition(" ")
        tell(event="answer", **commands[name](int(count or 0)))
    service.stop()


if __name__ == "__main__":
    main()
