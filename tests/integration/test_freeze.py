"""Freezes in the service: on a real git remote, with real signatures, and a policy that changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.assembly import build_view
from dispatcher.model.health import WaitingFor
from dispatcher.operate.forecast import forecast
from tests.integration.test_controls import end, merge, started, waits
from tests.servers.bao import Bao
from tests.support.cli_process import disinto
from tests.support.stage import Stage, eventually, set_stage

FROZEN = """
[freeze]
zone = "Europe/Berlin"
[freeze.windows.holidays]
dates = ["2020-01-01/.."]
exempt = ["free"]
"""
REASON = "freeze holidays, with no end within a year"


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server, ops_repo={"poll_interval_s": 0.2})
    policy = stage.scene.open_settings().policy.file
    assert policy is not None
    policy.write_text(policy.read_text() + FROZEN)
    stage.components = stage._components()
    yield stage
    stage.stop()


def test_an_emergency_needs_an_approval_and_is_marked_wherever_it_shows(stage: Stage) -> None:
    why = 'emergency = "shop is down"'
    merge(stage, "plain")
    merge(stage, "claims", more=why)
    merge(stage, "urgent", more=why, sign=True)
    stage.start()
    started(stage, "urgent")
    waits(stage, "plain", WaitingFor.FREEZE, REASON)
    waits(stage, "claims", WaitingFor.APPROVAL, "")
    plan = forecast(stage.components, build_view(stage.components)).plan
    assert {w.action_id: w.waiting_for for w in plan.waits if w.action_id != "urgent"} == {
        "plain": WaitingFor.FREEZE,
        "claims": WaitingFor.APPROVAL,
    }
    end(stage, "urgent")
    result = stage.result("urgent")
    assert result["emergency"] == f"shop is down (overrides {REASON})"
    assert result["tier"] == "high"
    assert result["approved_by"]
    audit = (stage.components.settings.state_dir / "audit.jsonl").read_text().splitlines()
    (claimed,) = (r for line in audit if (r := json.loads(line))["event"] == "claimed")
    assert claimed["emergency"] == result["emergency"]


def test_a_freeze_that_the_policy_loses_releases_what_waited(stage: Stage) -> None:
    merge(stage, "plain")
    stage.start()
    waits(stage, "plain", WaitingFor.FREEZE, REASON)
    policy = stage.scene.open_settings().policy.file
    assert policy is not None
    policy.write_text(policy.read_text().replace(FROZEN, ""))
    started(stage, "plain")

    assert stage.served is not None
    rules = stage.served.rules
    before = rules.digests()
    policy.write_text(policy.read_text() + FROZEN)

    @eventually
    def frozen_again() -> None:
        assert rules.digests() != before

    frozen_again()
    merge(stage, "later")
    waits(stage, "later", WaitingFor.FREEZE, REASON)
    end(stage, "plain")
    assert "emergency" not in stage.result("plain")


def test_doctor_warns_of_a_formula_that_is_not_there(stage: Stage) -> None:
    def warned() -> list[str]:
        said = disinto("doctor", "--json", "--config", str(scene.config), env=scene.environ)
        name = "policy: freeze.windows.holidays.exempt"
        return [check["detail"] for check in said.json["checks"] if check["name"] == name]

    scene = stage.scene
    (detail,) = warned()
    assert "names the formula free in freeze.windows.holidays.exempt" in detail
    scene.merge({"formulas/free.sh": "#!/bin/bash\n"}, "Add free")
    assert warned() == []
    (scene.desk / "formulas/free.sh").unlink()
    scene.merge({}, "Remove it")
    (scene.formulas / "free.sh").write_text("#!/bin/bash\n")
    assert warned() == []
