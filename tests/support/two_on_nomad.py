"""Two actions on a Nomad, good and bad, whose formulas wait at a gate while parts of it die."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tenacity

from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.support import deaths
from tests.support.deaths import assert_each_ran_once, runs
from tests.support.serving import all_results

PROVISIONAL_S = 8
WITHIN_S = 240
"""How long a wait may take on a busy machine."""

UNTIL_OPEN = """
until [ -e {gate} ]; do sleep 0.1; done
"""

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(WITHIN_S), wait=tenacity.wait_fixed(0.2), reraise=True
)


def set_two(
    root: Path,
    server: Bao,
    *,
    nomad: DevAgent,
    max_run_s: int,
    waits: bool = True,
    **nomad_settings: Any,
) -> Scene:
    """The scene.

    Args:
        waits: the formulas wait until ``open_gate``.
    """
    return deaths.set_scene(
        root,
        server,
        nomad=nomad,
        marks=f"{root}/data/marks",
        script=UNTIL_OPEN.format(gate=f"{root}/data/gate") if waits else "",
        settings={
            "limits": {"max_run_s": max_run_s},
            "grants": {"provisional_ttl_s": PROVISIONAL_S},
            "nomad": {"lease_ttl_s": 10, **nomad_settings},
        },
    )


@contextmanager
def cleared(scene: Scene) -> Iterator[Scene]:
    """In the end nothing waits any more, and the scene is cleared."""
    try:
        yield scene
    finally:
        open_gate(scene)
        scene.clear()


def open_gate(scene: Scene) -> None:
    (scene.root / "data" / "gate").touch()


@eventually
def until_both_run(scene: Scene) -> None:
    assert runs(scene) == {"good": 1, "bad": 1}


def ended_well(scene: Scene, server: Bao) -> None:
    """Each ran once and has its result, as if nothing had happened."""
    all_results(scene, deaths.ACTIONS, within_s=WITHIN_S)
    assert_each_ran_once(scene, server, orphans_for_s=PROVISIONAL_S * 5)


def state_of_process(pid: int) -> str:
    """As in ``ps``: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
