"""A Nomad set up by the project's own ``apply``, and a scheduler over it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import tenacity

from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.apply import apply_nomad, plan_nomad, rendered_jobs
from dispatcher.engines.nomad.scheduler import NomadScheduler
from dispatcher.model.job_class import JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.model.run import Claim, Observation, Phase, RunSpec, RunState, WrappedGrant
from dispatcher.settings import Settings, settings_model
from tests.servers.grants import Minter
from tests.servers.nomad import Nomad


@dataclass(kw_only=True)
class NomadStage:
    """What a test of runs on Nomad needs.

    Attributes:
        clock: seconds that the scheduler's clock is ahead of the real one.
    """

    nomad: Nomad
    minter: Minter
    settings: Settings
    api: NomadApi
    ahead_s: float = 0.0
    wakes: list[float] = field(default_factory=list)
    scheduler: NomadScheduler = field(init=False)
    wire: NomadApi = field(init=False)

    def __post_init__(self) -> None:
        self.wire, self.scheduler = self._made()

    def start_anew(self) -> None:
        """A scheduler that remembers nothing, as after a crash of the dispatcher."""
        self.scheduler.close()
        self.wire, self.scheduler = self._made()

    def _made(self) -> tuple[NomadApi, NomadScheduler]:
        wire = NomadApi(self.settings.nomad, self.nomad.environ)
        return wire, NomadScheduler(
            wire,
            self.settings,
            wake=lambda: self.wakes.append(time.time()),
            clock=lambda: time.monotonic() + self.ahead_s,
        )

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """The calls that the scheduler made inside, streams aside."""
        before, made = Counter(self.wire.calls), Counter[str]()
        yield made
        made.update(Counter(self.wire.calls) - before)
        made.pop("event.stream", None)

    def apply(self, *in_use: set[Mount]) -> None:
        used = [JobVariant(mounts=frozenset(mounts)) for mounts in in_use]
        apply_nomad(self.api, plan_nomad(self.api, rendered_jobs(self.settings, used)))

    def submit(self, spec: RunSpec, grant: WrappedGrant | None = None) -> Claim:
        minted = grant or self.minter.mint(*spec.secrets)
        child = self.scheduler.submit(spec, minted)
        return claim_of(spec, minted, child)

    def observe(self, claim: Claim) -> Observation | None:
        return self.scheduler.observe([claim]).get(claim.key)

    def until(
        self, claim: Claim, met: Callable[[Observation], bool], *, within_s: float = 90
    ) -> Observation:
        """Observe until the condition is met."""

        @tenacity.retry(
            stop=tenacity.stop_after_delay(within_s),
            wait=tenacity.wait_fixed(0.1),
            reraise=True,
        )
        def look() -> Observation:
            seen = self.observe(claim)
            assert seen is not None, "Nomad does not know the run"
            assert met(seen), seen
            return seen

        return look()

    def end(self, claim: Claim) -> Observation:
        return self.until(claim, lambda seen: seen.state is RunState.ENDED)

    def running(self, claim: Claim) -> Observation:
        return self.until(claim, lambda seen: seen.state is RunState.RUNNING)

    def log(self, claim: Claim) -> str:
        return b"".join(chunk.data for chunk in self.scheduler.logs(claim)).decode()

    def until_logged(self, claim: Claim, text: str) -> None:
        """Wait until the formula has said something."""

        @tenacity.retry(
            stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True
        )
        def look() -> None:
            assert text in self.log(claim)

        look()


def claim_of(spec: RunSpec, grant: WrappedGrant, child: str) -> Claim:
    return Claim(
        key=spec.key,
        phase=Phase.SUBMITTED,
        commit=spec.commit,
        formula=spec.formula,
        tier=spec.tier,
        timeout_s=spec.timeout_s,
        outcome_key=spec.outcome_key,
        grant=grant.grant,
        engine_id=child,
        submitted_at=time.time(),
    )


@contextmanager
def nomad_stage(
    nomad: Nomad, minter: Minter, *, tables: Mapping[str, Any] | None = None, **more: Any
) -> Iterator[NomadStage]:
    """Jobs of this stage's own on a server that others use as well; purged at the end.

    Args:
        tables: other tables of the settings.
        more: keys of [nomad]. Without an image the driver is raw_exec, with this Python.
    """
    if "image" not in more and not nomad.runs_here:
        pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
    prefix = nomad.unique("stage")
    driver = {"driver": "docker"} if "image" in more else {"driver": "raw_exec"}
    settings = settings_model().model_validate(
        {
            **(tables or {}),
            "scheduler": "nomad",
            "vault": {"addr": minter.bao.addr, "kv_mount": minter.bao.kv_mount},
            "nomad": {
                "addr": nomad.addr,
                "ledger_prefix": prefix,
                "cpu_mhz": 50,
                "memory_mb": 128,
                "disk_mb": 100,
                "log_file_mb": 5,
                "keep_finished_s": 0,
                **driver,
                **more,
            },
        }
    )
    api = nomad.api()
    stage = NomadStage(nomad=nomad, minter=minter, settings=settings, api=api)
    try:
        stage.apply()
        yield stage
    finally:
        stage.scheduler.close()
        for job in api.jobs(prefix=f"{prefix}-"):
            api.stop(job["ID"], purge=True)
        api.close()
