"""Finished runs stay in Nomad for people to look at, and nothing is weakened by it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dispatcher.engines.nomad.scheduler import NomadScheduler
from dispatcher.model.result import Result
from dispatcher.model.run import Claim, Phase
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.ended_output import ended_output
from tests.servers.grants import Minter
from tests.servers.nomad import Nomad
from tests.support.nomad_stage import NomadStage, nomad_stage

pytestmark = [pytest.mark.needs("bao"), pytest.mark.needs("nomad")]
KEEP_S = 3600.0


@pytest.fixture
def keeping(nomad: Nomad, minter: Minter) -> Iterator[NomadStage]:
    with nomad_stage(nomad, minter, keep_finished_s=KEEP_S) as stage:
        yield stage


def test_a_finished_run_can_be_looked_at_and_never_runs_again(
    keeping: NomadStage, minter: Minter
) -> None:
    spec = minter.spec("#!/bin/bash\nseq 1 1000\nexit 3\n")
    grant = minter.mint()
    claim = keeping.submit(spec, grant)
    keeping.end(claim)
    keeping.scheduler.forget(claim)
    job = keeping.api.job(claim.engine_id)
    assert job is not None
    assert (job["Status"], job["Stop"]) == ("dead", False)
    # Its token still names it: the same dispatch starts nothing.
    assert keeping.scheduler.submit(spec, grant) == claim.engine_id
    result = Result(
        id=spec.key.action_id,
        blob=spec.key.blob,
        exit_code=3,
        timestamp="2026-11-21T00:00:00Z",
        verdict=Verdict.FAILED,
        logs="1000\n",
    )
    output = ended_output(result, lambda: keeping.scheduler, keeping.settings)
    assert output.chunks is not None
    wanted = "".join(f"{n}\n" for n in range(1, 1001)).encode()
    assert b"".join(chunk.data for chunk in output.chunks) == wanted
    assert output.source.startswith("from Nomad")
    # Another process knows when it ended from Nomad alone.
    assert list(keeping.scheduler.kept()) == []
    restarted = NomadScheduler(
        keeping.api, keeping.settings, wall_clock=lambda: time.time() + KEEP_S + 60
    )
    try:
        assert list(restarted.kept()) == [spec.key]
        restarted.forget(Claim(key=spec.key, phase=Phase.ENDED, commit=""))
    finally:
        restarted.close()
    assert keeping.api.job(claim.engine_id) is None
    assert ended_output(result, lambda: keeping.scheduler, keeping.settings).chunks is None
