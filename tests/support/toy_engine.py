"""An engine that no module of the dispatcher knows: runners as plain processes, a directory per run.

It is brought as other packages bring theirs, by an entry point or by ``registry.register``. It is
no good engine: a run whose dispatcher dies goes on, and nothing protects files.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from dispatcher.engines.base import (
    CannotSubmit,
    Engine,
    LogChunk,
    Scheduler,
    Stream,
    TimesNotKept,
    payload_of,
)
from dispatcher.model import run
from dispatcher.model.checks import Check
from dispatcher.model.mounts import Mount
from dispatcher.model.payload import NotAuthentic, check_authentic, decode_outcome
from dispatcher.model.progress import FILE_NAME, Progress, decode_progress
from dispatcher.model.run import (
    Claim,
    Observation,
    Outcome,
    RunKey,
    RunSpec,
    RunState,
    WrappedGrant,
)
from dispatcher.model.time_index import index_name, offset_since
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import Settings
from dispatcher.settings.section import Contradiction, EngineSection, wrong

LOOK_EVERY_S = 0.05
RUNNER = (sys.executable, "-m", "dispatcher.runner")


class ToySettings(EngineSection):
    """The toy engine."""

    niceness: int = Field(default=0, ge=0, le=19, description="Of runners, as nice(1) has it.")
    shell: str = Field(default="bash", description="Shell that doctor looks for.")

    def contradictions(self, name: str, settings: Settings) -> Iterator[Contradiction]:
        if self.shell == "fish" and self.niceness:
            yield wrong("fish is never nice", name, "shell", remedy="Use bash")


@dataclass(frozen=True)
class Place:
    """The directory of one run."""

    path: Path

    @property
    def pid(self) -> int:
        return int((self.path / "pid").read_text())

    @property
    def alive(self) -> bool:
        """Whether the runner lives. One that has ended is waited for by who started it."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return False
        return state not in "ZX"

    def outcome(self, key: str) -> Outcome:
        with suppress(OSError, ValueError):
            return decode_outcome((self.path / "outcome.json").read_bytes(), key=key)
        cancel = self.path / "cancel"
        if cancel.exists() and not (self.path / "started").exists():
            return Outcome(verdict=Verdict.CANCELLED, exit_code=130, error=cancel.read_text())
        return Outcome(
            verdict=Verdict.LOST, exit_code=71, formula_started=True, error="the runner is gone"
        )


class ToyScheduler:
    """See ``dispatcher.engines.base.Scheduler``."""

    def __init__(self, settings: Settings, *, wake: Callable[[], None] = lambda: None) -> None:
        self._runs = settings.state_dir / "toy"
        self._niceness = settings.section(ToySettings).niceness
        self._wake = wake
        self._turn = threading.Lock()

    def submit(
        self,
        spec: RunSpec,
        grant: WrappedGrant,
        *,
        again: bool = False,
    ) -> str:
        if spec.mounts:
            raise CannotSubmit("the toy engine has no mounts", verdict=Verdict.UNPLACEABLE)
        payload = payload_of(spec, grant)
        place = self._place(spec.key)
        with self._turn:
            if not place.path.exists():
                place.path.mkdir(parents=True)
                self._start(place, payload)
        return spec.key.token

    def _start(self, place: Place, payload: bytes) -> None:
        with (place.path / "runner.log").open("wb") as messages:
            process = subprocess.Popen(
                ["nice", f"-n{self._niceness}", *RUNNER, "--spool", str(place.path)],
                stdin=subprocess.PIPE,
                stdout=messages,
                stderr=messages,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            )
        (place.path / "pid").write_text(str(process.pid))

        def wait() -> None:
            with suppress(BrokenPipeError):  # it was cancelled before it read
                process.communicate(payload)
            process.wait()
            self._wake()

        threading.Thread(target=wait, name="toy", daemon=True).start()

    def observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        known = [claim for claim in claims if self._place(claim.key).path.exists()]
        return {claim.key: self._look(claim) for claim in known}

    def _look(self, claim: Claim) -> Observation:
        place = self._place(claim.key)
        with self._turn:  # else it may be about to start
            alive = place.alive
        outcome = None if alive else place.outcome(claim.outcome_key)
        return Observation(
            state=RunState.RUNNING if alive else RunState.ENDED,
            engine_id=claim.key.token,
            engine=run.Placement(kind="toy", alloc=claim.key.token, node=socket.gethostname()),
            outcome=outcome,
            since=outcome.finished_at if outcome else place.path.stat().st_ctime,
        )

    def logs(
        self, claim: Claim, *, follow: bool = False, offsets: Mapping[Stream, int] | None = None
    ) -> Iterator[LogChunk]:
        place, at = self._place(claim.key), dict.fromkeys(Stream, 0) | dict(offsets or {})
        while True:
            ended = not follow or not place.alive
            for stream in Stream:
                with suppress(FileNotFoundError):
                    data = (place.path / f"{stream}.log").read_bytes()[at[stream] :]
                    at[stream] += len(data)
                    if data:
                        yield LogChunk(stream=stream, offset=at[stream], data=data)
            if ended:
                return
            time.sleep(LOOK_EVERY_S)

    def offsets_since(self, claim: Claim, since: float) -> Mapping[Stream, int]:
        path, offsets = self._place(claim.key).path, {}
        for stream in Stream:
            with suppress(FileNotFoundError):
                size = (path / f"{stream}.log").stat().st_size
                index = path / index_name(stream)
                marks = index.read_bytes() if index.exists() else None
                offset = offset_since(marks, since, size=size)
                if offset is None:
                    raise TimesNotKept(stream, "no index")
                offsets[stream] = offset
        return offsets

    def told(self, notice: bytes) -> bool:
        return False

    def progress(self, claims: Collection[Claim]) -> Mapping[RunKey, Progress]:
        found = {}
        for claim in claims:
            with suppress(FileNotFoundError, NotAuthentic):
                data = (self._place(claim.key).path / FILE_NAME).read_bytes()
                check_authentic(data, claim.outcome_key)
                if progress := decode_progress(data):
                    found[claim.key] = progress
        return found

    def cancel(self, claim: Claim, *, reason: str) -> None:
        place = self._place(claim.key)
        if place.alive:
            (place.path / "cancel").write_text(reason)
            with suppress(ProcessLookupError):
                os.kill(place.pid, signal.SIGTERM)

    def kept(self) -> Collection[RunKey]:
        names = [path.name for path in self._runs.glob("*.*")]
        return [RunKey(action_id=n.partition(".")[0], blob=n.partition(".")[2]) for n in names]

    def forget(self, claim: Claim) -> None:
        place = self._place(claim.key)
        if not place.alive:
            shutil.rmtree(place.path, ignore_errors=True)

    def _place(self, key: RunKey) -> Place:
        return Place(self._runs / key.token)


class ToyEngine(Engine):
    """See ``Engine``."""

    name = "toy"
    title = "the toy engine"
    section = ToySettings

    def scheduler(
        self, settings: Settings, environ: Mapping[str, str], *, wake: Callable[[], None]
    ) -> Scheduler:
        return ToyScheduler(settings, wake=wake)

    def mounts(self, settings: Settings) -> tuple[Mount, ...]:
        return ()

    def checks(self, settings: Settings, environ: Mapping[str, str]) -> Iterable[Check]:
        shell = settings.section(ToySettings).shell
        found = shutil.which(shell)
        yield Check(name="toy: shell", ok=bool(found), detail=found or f"{shell} is missing")


ENGINE = ToyEngine()
