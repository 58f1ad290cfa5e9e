"""Schedules on a real remote: the last slot is caught up, once; approval, attackers, and what people see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from dispatcher.assembly import build_view
from dispatcher.cli.root import root
from dispatcher.cli.session import Session
from dispatcher.loop.sources import note_name
from dispatcher.model.slots import Slots
from dispatcher.operate.forecast import forecast
from dispatcher.operate.schedule_checks import check_schedules
from dispatcher.operate.schedules import schedules
from tests.servers.bao import Bao
from tests.support.slot_ids import slot_id
from tests.support.stage import Stage, path, set_stage

pytestmark = pytest.mark.needs("bao", "git", "ssh-keygen")

FILE = "vault/schedules/hourly.toml"
SLOTS = Slots(cron="0 * * * *", zone="Europe/Berlin")


def schedule(formula: str = "hello", *, more: str = "", context: str = "{slot}") -> str:
    return (
        f'cron = "0 * * * *"\ntimezone = "Europe/Berlin"\ncatch_up = "last"\n{more}\n[action]\n'
        f'formula = "{formula}"\ncontext = "{context}"\nsecrets = []\n'
    )


@pytest.fixture
def stage(tmp_path: Path, vault: Bao) -> Iterator[Stage]:
    stage = set_stage(tmp_path, vault)
    yield stage
    stage.stop()


def ran(stage: Stage) -> list[str]:
    return [spec.key.action_id for spec in stage.scheduler.submitted]


def down_for(stage: Stage, hours: float) -> None:
    """As if the dispatcher had last looked so long ago."""
    then = datetime.now(UTC) - timedelta(hours=hours)
    ledger, name = stage.components.ledger, note_name("schedule")
    note = ledger.note(name)
    marks = json.dumps({"hourly": f"{then:%Y-%m-%dT%H:%M:%SZ}"})
    ledger.write_note(name, marks, version=note.version if note else 0)


def last_slot(stage: Stage) -> str:
    """The id of its action."""
    now = datetime.now(UTC).timestamp()
    slot = SLOTS.until(now, since=0.0, limit=1)[0]
    return slot_id(stage.components.settings, "hourly", slot)


def test_after_downtime_the_last_slot_runs_once(stage: Stage) -> None:
    stage.scene.merge({FILE: schedule()}, "A schedule")
    stage.once()
    assert ran(stage) == []  # it begins now
    down_for(stage, 5)
    expected = last_slot(stage)
    stage.once()
    stage.once()
    assert ran(stage) == [expected]
    assert stage.scheduler.submitted[0].context.endswith("Z")
    # the ledger's mark is lost, or older than git: the id is used all the same
    down_for(stage, 5)
    stage.once()
    assert ran(stage) == [expected]


def test_a_schedule_starts_what_its_approval_covers(stage: Stage) -> None:
    stage.scene.merge({FILE: schedule("danger")}, "Not approved")
    stage.once()
    down_for(stage, 5)
    stage.once()
    assert stage.scene.results() == {}
    assert not [c for c in _log(stage) if c.startswith("Action")]
    stage.scene.merge({FILE: schedule("danger") + "# approved\n"}, "Approved", sign=True)
    stage.once()
    down_for(stage, 5)
    expected = last_slot(stage)
    stage.once()
    assert ran(stage) == [expected]
    assert stage.scene.results()[expected]["tier"] == "high"
    # what a run, or anybody else, changes in it needs approval again
    stage.scene.merge({FILE: schedule("danger", context="evil")}, "Changed by a run")
    stage.scene.remove(path(expected), path(expected).replace(".toml", ".result.json"))
    down_for(stage, 5)
    stage.once()
    assert ran(stage) == [expected]


def test_a_rewritten_branch_brings_back_no_schedule(stage: Stage) -> None:
    stage.scene.merge({FILE: schedule("danger")}, "Approved", sign=True)
    approved = stage.scene.git("rev-parse", "main", cwd=stage.scene.remote)
    stage.scene.remove(FILE)
    stage.once()
    stage.scene.git("update-ref", "refs/heads/main", approved, cwd=stage.scene.remote)
    stage.once()
    down_for(stage, 5)
    stage.once()
    assert ran(stage) == []
    assert stage.watch.last is not None
    assert "the branch was rewritten since" in "\n".join(stage.watch.last.warnings)


def test_people_see_what_keeps_a_schedule_from_starting(stage: Stage) -> None:
    stage.scene.merge(
        {
            FILE: schedule(),
            "vault/schedules/broken.toml": 'cron = "* * * * * *"\n',
            "vault/schedules/danger.toml": schedule("danger"),
            "vault/schedules/misfit.toml": schedule() + "[action.params]\nname = 1\n",
            "vault/schedules/wrong.toml": schedule("helo"),
        },
        "Five schedules",
    )
    schema = {"properties": {"name": {"type": "string"}}, "type": "object"}
    (stage.scene.formulas / "hello.schema.json").write_text(json.dumps(schema))
    components = stage.components
    listed = {each.name: each for each in schedules(components, build_view(components), count=3)}
    assert {name: each.state for name, each in listed.items()} == {
        "broken": "broken", "danger": "waiting", "hourly": "active", "misfit": "limited",
        "wrong": "waiting",
    }  # fmt: skip
    assert "vault/schedules/misfit.toml:10:8: " in listed["misfit"].reason
    assert 'wrong.toml:6:11: there is no formula "helo". Did you mean "hello"?' in (
        listed["wrong"].reason
    )
    assert len(listed["hourly"].next) == 3
    assert listed["hourly"].as_json()["next"]
    foreseen = forecast(components, build_view(components))
    text = "\n".join(foreseen.overview(components.settings).warnings)
    assert "schedule broken starts nothing" in text
    assert "schedule danger starts nothing" in text
    assert "schedule misfit: its actions would be invalid" in text
    checks = {
        check.name: check.ok
        for check in check_schedules(
            components.settings,
            components.repo,
            commit=components.repo.fetch().commit,
            policy=components.rules.policy,
            gate=components.gate,
        )
    }
    assert checks == {
        "schedule: broken": False, "schedule: danger": True, "schedule: wrong": True, "schedules": True,
    }  # fmt: skip
    stage.once()
    assert stage.watch.last is not None
    assert "schedule danger starts nothing" in "\n".join(stage.watch.last.warnings)


def test_the_commands(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.scene.merge({FILE: schedule()}, "A schedule")
    for name, value in stage.scene.environ.items():
        monkeypatch.setenv(name, value)

    def run(*args: str) -> str:
        session = Session(config=stage.scene.config)
        done = CliRunner().invoke(root, ["--config", str(stage.scene.config), *args], obj=session)
        assert done.exception is None, done.output
        return done.stdout

    (listed,) = json.loads(run("schedule", "list", "--json"))
    assert (listed["name"], listed["state"], listed["tier"]) == ("hourly", "active", "low")
    (following,) = json.loads(run("schedule", "next", "hourly", "--count", "2", "--json"))
    assert following["next"][0]["action_begins"].startswith("hourly-")
    assert len(following["next"]) == 2
    assert "hourly" in run("schedule", "list")
    assert run("schedule", "next").count("hourly-") == 5


def _log(stage: Stage) -> list[str]:
    return stage.scene.git("log", "--format=%s", "main", cwd=stage.scene.remote).splitlines()
