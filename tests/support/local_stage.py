"""A local scheduler with real grants, and the moves that its tests share."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.engines.local.spool import Spool
from dispatcher.host.process_record import decode_record
from dispatcher.model.run import (
    Claim,
    Observation,
    RunSpec,
    WrappedGrant,
)
from dispatcher.settings import Settings, settings_model
from tests.contract.scheduler import SchedulerContract, claim_of, eventually
from tests.servers.grants import Minter


def make_settings(tmp_path: Path, **local: Any) -> Settings:
    return settings_model()(
        state_dir=tmp_path / "state",
        local=LocalSettings(kill_grace_s=1.0, **local),
    )


class Bench:
    """A scheduler, a minter, and the few moves that tests share."""

    def __init__(self, minter: Minter, settings: Settings) -> None:
        self.minter = minter
        self.settings = settings
        self.woken = threading.Event()
        self.scheduler = LocalScheduler(settings, wake=self.woken.set)

    def begin(self, formula: str, **more: Any) -> Claim:
        spec = self.minter.spec(formula, **more)
        return self.submit(spec, self.minter.mint(*spec.secrets))

    def submit(self, spec: RunSpec, grant: WrappedGrant) -> Claim:
        return claim_of(spec, grant, engine_id=self.scheduler.submit(spec, grant))

    def spool(self, claim: Claim) -> Spool:
        return Spool(self.settings.state_dir / "runs", claim.key, outcome_key=claim.outcome_key)

    def end(self, claim: Claim, scheduler: LocalScheduler | None = None) -> Observation:
        return SchedulerContract.await_end(scheduler or self.scheduler, claim)

    def output(self, claim: Claim, text: bytes) -> None:
        SchedulerContract.await_output(self.scheduler, claim, text)

    def runner(self, claim: Claim) -> int:
        return eventually(self.spool(claim).runner)[0].pid


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test does, it leaves no runner behind."""
    yield
    runs = tmp_path / "state" / "runs"
    for folder in runs.iterdir() if runs.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            pid = decode_record((folder / "lock").read_bytes()).pid
            if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.needs("bwrap"))])
def bench(request: pytest.FixtureRequest, minter: Minter, tmp_path: Path) -> Bench:
    return Bench(minter, make_settings(tmp_path, bubblewrap=request.param))
