"""A grant whose claim cannot be written ends at once, however often that is tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.errors import Dependency, Unavailable
from dispatcher.loop import outages as dependencies
from dispatcher.loop import retries
from dispatcher.loop.components import Components
from dispatcher.loop.effects.acting import LeadLost
from dispatcher.model.run import Claim, Phase
from tests.servers.bao import Bao
from tests.support.evidence import live_grants
from tests.support.faulty_adapters import Failing, Laid, end_all
from tests.support.stage import Stage, action, eventually, path, set_stage

pytestmark = pytest.mark.needs("bao")

TRIES = 4
ONE = "provisional-one"
"""An id of this file's own: grants of other tests' actions live on in the session's Vault."""

UNAVAILABLE = Unavailable(Dependency.LEDGER, "disk I/O error")


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(dependencies, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(retries, "LONGEST_RETRY_S", 0.05)
    stage = set_stage(tmp_path, bao_server)
    yield stage
    stage.stop()


class Refusing:
    """A write of the ledger that fails some times, counting the live grants before and after.

    Args:
        kept: the write is carried out all the same, and its answer lost.
    """

    def __init__(
        self, stage: Stage, write: Any, error: Exception, *, phase: Phase, kept: bool = False
    ) -> None:
        self._stage, self._write, self._error = stage, write, error
        self._phase, self._kept = phase, kept
        self.live: list[int] = []

    def __call__(self, claim: Claim) -> Claim:
        if claim.phase is not self._phase or len(self.live) >= TRIES:
            return self._write(claim)  # type: ignore[no-any-return]
        self.live.append(len(live_grants(self._stage.scene.server, [claim.key.action_id])))
        if self._kept:
            self._write(claim)
        raise self._error


def tokens(stage: Stage) -> int:
    return len(stage.scene.server.client().list("auth/token/accessors")["data"]["keys"])


@pytest.mark.parametrize("error", [UNAVAILABLE, LeadLost("gone"), RuntimeError("a defect")])
def test_a_claim_that_cannot_be_written_leaves_one_grant_at_a_time(
    stage: Stage, error: Exception
) -> None:
    refusing: list[Refusing] = []

    def change(components: Components) -> Components:
        claim = Refusing(stage, components.ledger.claim, error, phase=Phase.CLAIMED)
        refusing.append(claim)
        return replace(components, ledger=Laid(components.ledger, claim=claim))

    stage.change = change
    before = tokens(stage)
    stage.scene.merge({path(ONE): action(ONE)}, "Add one")
    stage.start()

    @eventually
    def tried() -> None:
        assert len(refusing[-1].live) == TRIES

    tried()
    assert refusing[-1].live == [1] * TRIES  # its own, and no other
    stage.runs(1)
    # Grant and dispatcher's login; the wrapping of the run is used by no runner here.
    assert tokens(stage) - before <= 3
    end_all(stage)
    assert stage.result(ONE)["verdict"] == "succeeded"
    stage.at_rest()
    assert live_grants(stage.scene.server, [ONE]) == []
    assert len(stage.scheduler.submitted) == 1


def test_a_claim_that_was_written_though_the_answer_was_lost_runs_once(stage: Stage) -> None:
    def change(components: Components) -> Components:
        claim = Refusing(
            stage, components.ledger.claim, UNAVAILABLE, phase=Phase.CLAIMED, kept=True
        )
        return replace(components, ledger=Laid(components.ledger, claim=claim))

    stage.change = change
    stage.scene.merge({path(ONE): action(ONE)}, "Add one")
    stage.start()
    stage.runs(1)
    end_all(stage)
    assert stage.result(ONE)["verdict"] == "succeeded"
    stage.at_rest()
    assert live_grants(stage.scene.server, [ONE]) == []
    assert len(stage.scheduler.submitted) == 1


def test_a_grant_minted_anew_for_a_claim_that_cannot_be_updated_ends_too(stage: Stage) -> None:
    """The run was claimed and never reached its engine; its new grant finds no place in it."""
    refusing: list[Refusing] = []

    def change(components: Components) -> Components:
        update = Refusing(stage, components.ledger.update, UNAVAILABLE, phase=Phase.CLAIMED)
        refusing.append(update)
        lost = Failing(components.scheduler.submit, Unavailable(Dependency.SCHEDULER, "gone"))
        return replace(
            components,
            ledger=Laid(components.ledger, update=update),
            scheduler=Laid(components.scheduler, submit=lost),
        )

    stage.change = change
    stage.scene.merge({path(ONE): action(ONE)}, "Add one")
    stage.start()

    @eventually
    def tried() -> None:
        assert len(refusing[-1].live) == TRIES

    tried()
    assert max(refusing[-1].live) <= 1
    stage.runs(1)
    end_all(stage)
    assert stage.result(ONE)["verdict"] == "succeeded"
    stage.at_rest()
    assert live_grants(stage.scene.server, [ONE]) == []
