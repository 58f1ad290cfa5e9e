"""A force-push brings back an approved action that was withdrawn: it must wait, and not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.bao import Bao
from tests.stage import Stage, action, path, set_stage

pytestmark = pytest.mark.needs("bao", "git", "ssh-keygen")

LIMIT = "DISINTO_LIMITS__MAX_IN_FLIGHT"


@pytest.fixture
def stage(tmp_path: Path, vault: Bao) -> Stage:
    return set_stage(tmp_path, vault)


def ran(stage: Stage) -> list[str]:
    return [spec.key.action_id for spec in stage.scheduler.submitted]


def test_a_withdrawn_action_that_a_force_push_brings_back_waits(stage: Stage) -> None:
    scene = stage.scene
    scene.environ[LIMIT] = "0"  # approved, and without a place
    approval = scene.merge({path("x"): action("x", formula="danger")}, "Approve x", sign=True)
    stage.once()
    scene.git("rm", "-q", path("x"))
    scene.git("commit", "-q", "-S", "-m", "Withdraw x")
    scene.git("push", "-q", "origin", "HEAD:main")
    stage.once()
    scene.git("reset", "-q", "--hard", approval)
    scene.git("push", "-q", "--force", "origin", "HEAD:main")
    scene.environ[LIMIT] = "3"
    stage.once()
    stage.once()  # also when the rewrite is old news
    assert ran(stage) == []
    assert scene.results() == {}
    again = action("x", formula="danger", more="# approved again")
    scene.merge({path("x"): again}, "Approve x again", sign=True)
    stage.once()
    assert ran(stage) == ["x"]
    assert scene.results()["x"]["approved_by"] == ["ada@example.org"]
