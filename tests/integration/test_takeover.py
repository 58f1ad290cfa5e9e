"""``disinto takeover``, and how other commands show that another installation leads."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Exit
from tests.servers.bao import Bao
from tests.support.cli_process import Said, disinto
from tests.support.lead_stage import led, refuses
from tests.support.stage import Stage, action, path, set_stage

Command = Callable[..., Said]


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    """The installation that leads."""
    stage = set_stage(tmp_path, bao_server, ops_repo={"poll_interval_s": 0.2})
    stage.start()
    led(stage)
    yield stage
    stage.stop()


def command(stage: Stage, folder: Path) -> Command:
    config = folder / stage.scene.config.name
    return lambda *words: disinto("--config", str(config), *words, env=stage.scene.environ)


@pytest.fixture
def configured(stage: Stage, tmp_path: Path) -> Command:
    """Commands with a copy of its configuration, without the state."""
    folder = tmp_path / "second"
    shutil.copytree(stage.scene.config.parent, folder, ignore=lambda *_: ["state"])
    return command(stage, folder)


@pytest.fixture
def restored(stage: Stage, tmp_path: Path) -> Command:
    """Commands with a copy of its configuration and state."""
    shutil.copytree(stage.scene.config.parent, tmp_path / "second")
    return command(stage, tmp_path / "second")


def test_a_copied_configuration_starts_nothing(stage: Stage, configured: Command) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.runs(1)
    served = configured("serve", "--once")
    assert served.code == Exit.UNAVAILABLE
    assert "another installation leads this ops repo" in served.err
    assert "disinto takeover" in served.err
    assert not list((stage.scene.root / "second" / "state").glob("runs/*"))
    assert len(stage.scheduler.submitted) == 1


@pytest.mark.parametrize("which", ["configured", "restored"])
def test_every_view_names_who_leads(
    stage: Stage, which: str, request: pytest.FixtureRequest
) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    run = request.getfixturevalue(which)
    why = "it is a copy" if which == "restored" else "another installation leads this ops repo"
    doctor = run("doctor", "--json")
    (check,) = (c for c in doctor.json["checks"] if c["name"] == "lead")
    assert (check["ok"], why in check["detail"]) == (False, True)
    assert "disinto takeover" in check["remedy"]
    for view in ("status", "plan"):
        assert why in run(view).out, view


def test_who_leads_is_told_so(stage: Stage) -> None:
    own = command(stage, stage.scene.config.parent)
    doctor = own("doctor", "--json")
    (check,) = (c for c in doctor.json["checks"] if c["name"] == "lead")
    assert (check["ok"], "this installation" in check["detail"]) == (True, True)
    again = own("takeover")
    assert (again.code, "already leads" in again.out) == (Exit.OK, True)


def test_taking_over_wants_an_answer(stage: Stage, configured: Command) -> None:
    asked = configured("takeover")
    assert asked.code == Exit.USAGE
    assert "pass --yes" in asked.err
    led(stage)


@pytest.mark.parametrize("which", ["configured", "restored"])
def test_taking_over_makes_this_one_lead(
    stage: Stage, which: str, request: pytest.FixtureRequest
) -> None:
    report = stage.components.leadership.report()
    run = request.getfixturevalue(which)
    taken = run("takeover", "--yes")
    assert taken.code == Exit.OK, taken.err
    if which == "configured":
        assert report.instance in taken.out, "whom it takes the lead from"
    assert "would run again" in taken.err
    refuses(stage)
    assert run("serve", "--once").code == Exit.OK
    audit = (stage.scene.root / "second" / "state" / "audit.jsonl").read_text()
    assert '"lead_taken_over"' in audit
    assert '"who"' in audit
    assert report.instance not in run("doctor", "--json").out
