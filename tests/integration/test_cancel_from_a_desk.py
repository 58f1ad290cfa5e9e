"""``disinto cancel`` where no dispatcher runs: it asks through the ops repo, and claims nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Exit
from tests.servers.bao import Bao
from tests.support.cli_process import Said, disinto
from tests.support.desk_stage import AuthorsDesk
from tests.support.lead_stage import led
from tests.support.stage import Stage, action, path, set_stage


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path / "scene", bao_server, ops_repo={"poll_interval_s": 0.2})
    yield stage
    stage.stop()


@pytest.fixture
def desk(stage: Stage, tmp_path: Path) -> AuthorsDesk:
    return AuthorsDesk.of(stage.scene, tmp_path / "author")


def test_a_run_is_cancelled_from_an_authors_desk(stage: Stage, desk: AuthorsDesk) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    asked = desk("cancel", "one", "--reason", "wrong cluster")
    assert asked.code == Exit.TEMPFAIL, asked.err
    assert "is not cancelled yet" in asked.err
    assert "will not start" not in asked.out + asked.err
    assert stage.result("one")["verdict"] == "cancelled"
    assert not desk.opened(), "no ledger of its own"
    late = desk("cancel", "one")
    assert (late.code, "has ended" in late.err) == (Exit.FAILED, True)


def test_what_needs_an_approval_is_signed_or_not_sent(stage: Stage, desk: AuthorsDesk) -> None:
    stage.scene.merge({path("high"): action("high", formula="danger")}, "Add high")
    stage.start()
    before = stage.scene.git("rev-parse", "main", cwd=stage.scene.remote)
    unsigned = desk("cancel", "high")
    assert unsigned.code == Exit.NOPERM
    assert "nothing was sent" in unsigned.err
    assert "Disinto-Approve: example/ops@main high.cancel" in unsigned.err
    assert stage.scene.git("rev-parse", "main", cwd=stage.scene.remote) == before
    signed = desk("cancel", "high", "--sign")
    assert signed.code == Exit.TEMPFAIL, signed.err
    assert stage.result("high")["verdict"] == "cancelled"
    assert not stage.scheduler.submitted


def test_status_shows_a_request_that_is_not_approved(stage: Stage, desk: AuthorsDesk) -> None:
    stage.scene.merge({path("high"): action("high", formula="danger")}, "Add high")
    blob = stage.scene.git("hash-object", path("high"))
    stage.scene.merge(
        {"vault/actions/high.cancel.toml": f'id = "high"\nblob = "{blob}"\n'}, "Cancel high"
    )
    for seen in (desk("status", "--json"), dispatcher(stage, "status", "--json")):
        (note,) = seen.json["cancels"]
        assert (note["id"], note["state"]) == ("high", "waiting")
        assert "is not signed" in note["reason"]
    assert "requests to cancel" in desk("status").out
    plan = dispatcher(stage, "plan")
    assert "requests to cancel" in plan.out
    again = desk("cancel", "high", "--sign")
    assert (again.code, "already" in again.err) == (Exit.TEMPFAIL, True)


def test_an_unknown_action_is_not_asked_about(desk: AuthorsDesk) -> None:
    refused = desk("cancel", "nosuch")
    assert refused.code == Exit.NOINPUT
    bad = desk("cancel", "nosuch", "--reason", "a\nb")
    assert bad.code == Exit.DATAERR


def test_a_copied_configuration_cancels_nothing_in_its_own_ledger(
    stage: Stage, tmp_path: Path
) -> None:
    """Its ledger knows nothing of the run, so what it would write there would be a lie."""
    stage.start()
    led(stage)
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.runs(1)
    folder = tmp_path / "second"
    shutil.copytree(stage.scene.config.parent, folder, ignore=lambda *_: ["state"])
    config = ("--config", str(folder / "disinto.toml"))
    refused = disinto(*config, "cancel", "one", env=stage.scene.environ)
    assert refused.code == Exit.UNAVAILABLE
    assert "another installation leads" in refused.err
    assert "--request" in refused.err
    assert "will not start" not in refused.out
    asked = disinto(*config, "cancel", "--request", "one", env=stage.scene.environ)
    assert asked.code == Exit.TEMPFAIL, asked.err
    assert stage.result("one")["verdict"] == "cancelled"


def dispatcher(stage: Stage, *words: str) -> Said:
    return disinto("--config", str(stage.scene.config), *words, env=stage.scene.environ)
