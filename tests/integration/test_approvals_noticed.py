"""A further approval, which leaves the file as it is, is noticed with the head that brings it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.loop import answers
from dispatcher.model.cancel_request import CancelRequest
from tests.servers.bao import Bao
from tests.support.second_approver import CAROL, Carol
from tests.support.stage import Stage, action, eventually, path, set_stage

CANCEL = "vault/actions/wrong.cancel.toml"
NEVER_S = 3600.0


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(answers, "ASK_AGAIN_S", (NEVER_S, NEVER_S))
    stage = set_stage(tmp_path, bao_server, ops_repo={"poll_interval_s": 0.2})
    with stage.scene.config.with_name("policy.toml").open("a") as policy:
        policy.write("[approval.high]\napprovals = 2\n")
    yield stage
    stage.stop()


@eventually
def reason(stage: Stage, action_id: str) -> str:
    assert stage.watch.last is not None
    (wait,) = (w for w in stage.watch.last.plan.waits if w.action_id == action_id)
    assert "1 of 2 approvals" in wait.reason
    return wait.reason


@eventually
def request_waits(stage: Stage) -> str:
    assert stage.watch.last is not None
    (note,) = stage.watch.last.cancels
    assert "1 of 2 approvals" in note.reason
    return note.reason


def test_an_action_and_a_request_to_cancel(stage: Stage) -> None:
    carol = Carol.trusted(stage.scene)
    for name in ("right", "wrong"):
        text = action(name, formula="danger")
        stage.scene.merge({path(name): text}, f"Add {name}", sign=True)
    blob = stage.scene.git("hash-object", path("wrong"))
    request = CancelRequest(action_id="wrong", blob=blob).to_toml()
    stage.scene.merge({CANCEL: request}, "Cancel wrong", sign=True)
    stage.start()
    reason(stage, "wrong")
    cancel = request_waits(stage)
    carol.pastes(reason(stage, "right"))
    stage.runs(1)
    (spec,) = stage.scheduler.submitted
    assert (spec.key.action_id, spec.approved_by) == ("right", ("ada@example.org", CAROL))
    carol.pastes(cancel)
    assert stage.result("wrong")["verdict"] == "cancelled"
