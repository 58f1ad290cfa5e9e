"""A schedule on each engine: after downtime its last slot runs once, although serve is killed in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tenacity

from dispatcher.assembly import open_ledger
from dispatcher.devservers.scene import Scene
from dispatcher.loop.sources import note_name
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.support.serving import Served, all_results

FILE = "vault/schedules/hourly.toml"
SCHEDULE = """cron = "0 * * * *"
timezone = "Europe/Berlin"
catch_up = "last"

[action]
formula = "greet"
context = "slot {slot} of {schedule}"
secrets = []
"""
GREET = '#!/bin/bash\necho "$DISINTO_CONTEXT"\nsleep 1\n'


@pytest.fixture(
    params=[
        pytest.param("local", marks=pytest.mark.needs("bao", "bwrap", "ssh-keygen")),
        pytest.param("nomad", marks=pytest.mark.needs("bao", "nomad", "ssh-keygen")),
    ]
)
def scene(request: pytest.FixtureRequest, bao_server: Bao, tmp_path: Path) -> Iterator[Scene]:
    server = bao_server.with_own_mount()
    nomad: Nomad | None = None
    if request.param == "nomad":
        nomad = request.getfixturevalue("nomad")
        if not nomad.runs_here:
            pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
    scene = Scene.set(
        tmp_path,
        server,
        values={},
        nomad=nomad,
        settings={"vault": {"kv_mount": server.kv_mount}, "ops_repo": {"poll_interval_s": 0.2}},
        formulas={"greet.sh": GREET},  # of tier high
    )
    yield scene
    scene.clear()


def last_looked(scene: Scene, *, hours_ago: float) -> None:
    ledger = open_ledger(scene.open_settings(), scene.environ)
    then = datetime.now(UTC) - timedelta(hours=hours_ago)
    note = ledger.note(note_name("schedule"))
    marks = json.dumps({"hourly": f"{then:%Y-%m-%dT%H:%M:%SZ}"})
    ledger.write_note(note_name("schedule"), marks, version=note.version if note else 0)


def written(scene: Scene) -> list[str]:
    """Ids of the actions ever written, from the commits."""
    added = scene.git(
        "log", "--diff-filter=A", "--name-only", "--format=", "main", "--", "vault/actions",
        cwd=scene.remote,
    )  # fmt: skip
    return [
        Path(name).stem
        for name in added.splitlines()
        if name.endswith(".toml") and Path(name).stem.startswith("hourly-")
    ]


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True)
def one_is_written(scene: Scene) -> str:
    (action_id,) = written(scene)
    return action_id


def test_the_last_slot_is_caught_up_once(scene: Scene) -> None:
    scene.merge({FILE: SCHEDULE}, "Every hour", sign=True)
    last_looked(scene, hours_ago=3)
    served = Served(scene)
    try:
        action_id = one_is_written(scene)
        served.kill()
        last_looked(scene, hours_ago=3)  # and the ledger's mark is older than git
        served = Served(scene, name="after-kill")
        result = all_results(scene, [action_id])[action_id]
        assert (result["verdict"], result["tier"]) == ("succeeded", "high")
        assert result["approved_by"]
        assert "of hourly" in result["logs"]
        served.end()
    finally:
        served.kill()
    assert written(scene) == [action_id]
