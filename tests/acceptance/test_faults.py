"""The dispatcher dies at every step boundary: each action runs at most once and gets its result.

Real git remote, real OpenBao, real runner processes; on Nomad: ``test_nomad_faults.py``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatcher.assembly import build_components
from dispatcher.devservers.scene import Scene
from dispatcher.loop.sources import note_name
from dispatcher.model.slots import Slots
from dispatcher.model.times import epoch
from tests.servers.bao import Bao
from tests.support.deaths import (
    BOUNDARIES,
    assert_each_ran_once,
    assert_output_is_kept,
    path,
    runs,
    serve_once,
    set_scene,
)
from tests.support.slot_ids import slot_id
from tests.support.thorough import THOROUGH, some

PROVISIONAL_S = 3

SHORT = {"after mint", "after claim", "after submit", "after record ended", "after push"}
"""Boundaries whose deaths are always tried: one between any two servers. A model dies at all of them,
``tests/unit/test_exactly_once_model.py``.
"""


def local_scene(bao_server: Bao, tmp_path: Path, **more: Any) -> Scene:
    return set_scene(
        tmp_path,
        bao_server.with_own_mount(),
        marks="~/data/marks",
        mounts='"agent-data"',
        settings={
            "limits": {"max_run_s": 60},
            "grants": {"provisional_ttl_s": PROVISIONAL_S},
            "local": {
                "mounts": {"agent-data": str(tmp_path / "data")},
                "allow_unprotected_mounts": True,
            },
        },
        **more,
    )


@pytest.fixture
def scene(bao_server: Bao, tmp_path: Path) -> Scene:
    return local_scene(bao_server, tmp_path)


def test_the_list_of_boundaries_is_whole(scene: Scene) -> None:
    code, passed = serve_once(scene)
    assert code == 0
    assert set(passed) == set(BOUNDARIES)
    print(f"\n{len(BOUNDARIES)} boundaries: {', '.join(BOUNDARIES)}")


@pytest.mark.parametrize("boundary", some(BOUNDARIES, always=SHORT))
def test_death_at(boundary: str, scene: Scene, bao_server: Bao) -> None:
    code, passed = serve_once(scene, boundary)
    assert code == -9, f"{boundary} was never reached: {passed}"

    code, _ = serve_once(scene)

    assert code == 0
    assert_each_ran_once(scene, bao_server, orphans_for_s=PROVISIONAL_S * 5)


@pytest.mark.parametrize("side", some(["before", "after"], always=["after"]))
def test_death_where_output_is_pushed_before_its_result(
    side: str, scene: Scene, bao_server: Bao
) -> None:
    """A remote that takes no two refs at once."""
    scene.git("config", "receive.advertiseAtomic", "false", cwd=scene.remote)
    code, passed = serve_once(scene, f"{side} push of output")
    assert code == -9, passed
    assert scene.results() == {}

    code, _ = serve_once(scene)

    assert code == 0
    assert_each_ran_once(scene, bao_server, orphans_for_s=PROVISIONAL_S * 5)


WRITTEN = ["before push", "after push", "after mark"]
"""Steps of an action that the dispatcher writes itself; the first push is of its file."""


def test_death_while_an_action_is_written(bao_server: Bao, tmp_path: Path) -> None:
    """One schedule per boundary, with a slot once a year and half a year away: each has one action."""
    scene = local_scene(bao_server, tmp_path, actions=())
    now = datetime.now(UTC)
    cron = f"0 0 1 {(now.month + 5) % 12 + 1} *"
    slots = Slots(cron=cron, zone="UTC")
    (slot,) = slots.until(now.timestamp(), since=0.0, limit=1)
    boundaries = WRITTEN if THOROUGH else WRITTEN[1:2]
    for boundary in boundaries:
        name = boundary.replace(" ", "-")
        written = slot_id(scene.open_settings(), name, slot)
        set_back(scene, name, cron, at=now - timedelta(days=365))

        code, passed = serve_once(scene, boundary)
        assert code == -9, f"{boundary} was never reached: {passed}"
        code, _ = serve_once(scene)

        assert code == 0
        commits = scene.git("log", "--format=%s", "main", "--", path(written), cwd=scene.remote)
        assert commits.splitlines() == [f"Action {written} for schedule {name}"], boundary
        assert scene.results()[written]["verdict"] == "succeeded"
        assert_output_is_kept(scene, {written: {"stdout": f"out of {written}\n"}})
        assert marks(scene)[name].endswith(" written")
        assert epoch(marks(scene)[name].split()[0]) == slot
    settings = scene.open_settings()
    ids = [slot_id(settings, boundary.replace(" ", "-"), slot) for boundary in boundaries]
    assert runs(scene) == dict.fromkeys(ids, 1)


def set_back(scene: Scene, name: str, cron: str, *, at: datetime) -> None:
    """Merge a schedule, as if a dispatcher had last looked at it then."""
    text = (
        f'cron = "{cron}"\ntimezone = "UTC"\ncatch_up = "last"\n[action]\nformula = "good"\n'
        'context = "{slot}"\nsecrets = ["TOKEN_A"]\nmounts = ["agent-data"]\n'
    )
    scene.merge({f"vault/schedules/{name}.toml": text}, f"Add schedule {name}")
    ledger = build_components(scene.open_settings(), environ=scene.environ).ledger
    note = ledger.note(note_name("schedule"))
    known = json.loads(note.text) if note else {}
    text = json.dumps({**known, name: f"{at:%Y-%m-%dT%H:%M:%SZ}"})
    ledger.write_note(note_name("schedule"), text, version=note.version if note else 0)


def marks(scene: Scene) -> dict[str, str]:
    """Of the schedules, by name."""
    ledger = build_components(scene.open_settings(), environ=scene.environ).ledger
    note = ledger.note(note_name("schedule"))
    assert note is not None
    read: dict[str, str] = json.loads(note.text)
    return read
