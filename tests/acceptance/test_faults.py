"""The dispatcher dies at every step boundary: each action runs at most once and gets its result.

Real git remote, real OpenBao, real runner processes; on Nomad: ``test_nomad_faults.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.support.deaths import BOUNDARIES, assert_each_ran_once, serve_once, set_scene

PROVISIONAL_S = 3


@pytest.fixture
def scene(bao_server: Bao, tmp_path: Path) -> Scene:
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
    )


def test_the_list_of_boundaries_is_whole(scene: Scene) -> None:
    code, passed = serve_once(scene)
    assert code == 0
    assert set(passed) == set(BOUNDARIES)
    print(f"\n{len(BOUNDARIES)} boundaries: {', '.join(BOUNDARIES)}")


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_death_at(boundary: str, scene: Scene, bao_server: Bao) -> None:
    code, passed = serve_once(scene, boundary)
    assert code == -9, f"{boundary} was never reached: {passed}"

    code, _ = serve_once(scene)

    assert code == 0
    assert_each_ran_once(scene, bao_server, orphans_for_s=PROVISIONAL_S * 5)
