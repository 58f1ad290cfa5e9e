"""Locks on the local engine, with a dispatcher that is killed among them: no two of a lock overlap,
they run in commit order, and none that a newer one superseded runs after it.

The formulas themselves write down when they begin and end, in a file that only they write.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import tenacity

from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.support.serving import Served, all_results
from tests.support.thorough import THOROUGH

pytestmark = pytest.mark.needs("bao", "bwrap")

SCRIPT = """#!/bin/bash
echo "begin $DISINTO_ACTION_ID" >> ~/data/marks
sleep 1.5
echo "end $DISINTO_ACTION_ID" >> ~/data/marks
"""


@pytest.fixture
def scene(bao_server: Bao, tmp_path: Path) -> Scene:
    server = bao_server.with_own_mount()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "marks").touch()
    return Scene.set(
        tmp_path,
        server,
        values={},
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "ops_repo": {"poll_interval_s": 0.2},
            "limits": {"max_in_flight": 5, "max_run_s": 60},
            "local": {
                "mounts": {"agent-data": str(tmp_path / "data")},
                "allow_unprotected_mounts": True,
            },
        },
        tiers={"slow": "low", "guarded": "high"},
        formulas={"slow.sh": SCRIPT, "guarded.sh": SCRIPT},
    )


def merge(scene: Scene, action_id: str, more: str = "", formula: str = "slow") -> None:
    text = (
        f'id = "{action_id}"\nformula = "{formula}"\ncontext = ""\nsecrets = []\n'
        f'mounts = ["agent-data"]\nlock = "web"\n{more}\n'
    )
    scene.merge({f"vault/actions/{action_id}.toml": text}, f"Add {action_id}")


def marks(scene: Scene) -> list[str]:
    return (scene.root / "data" / "marks").read_text().splitlines()


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True)
def marked(scene: Scene, mark: str) -> None:
    assert mark in marks(scene)


def test_kill_9_neither_frees_a_lock_nor_keeps_it(scene: Scene) -> None:
    for name in ("c", "a", "b"):
        merge(scene, name)
    merge(scene, "old", formula="guarded")  # nobody approves it in time
    served = Served(scene)
    try:
        for name in ("c", "a") if THOROUGH else ("c",):
            marked(scene, f"begin {name}")
            served.kill()
            served = Served(scene, name=f"after-{name}")
        merge(scene, "new", more='supersedes = true\nblast_radius = "low"')
        marked(scene, "begin b")
        served.kill()
        served = Served(scene, name="after-b")
        results = all_results(scene, ["a", "b", "c"])
        assert {results[i]["verdict"] for i in "abc"} == {"succeeded"}
        assert "new" not in results, "it is of a lower tier than an older one of its lock"
        served.end()
    finally:
        served.kill()
    assert marks(scene) == [f"{what} {i}" for i in "cab" for what in ("begin", "end")]
