"""Scenes on one Nomad for many faults beside each other."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.support import deaths
from tests.support.evidence import (
    RESTING_VARIABLES,
    children,
    operator_api,
    variables,
)
from tests.support.two_on_nomad import (
    cleared,
    ended_well,
    eventually,
    set_two,
)


@dataclass(kw_only=True)
class Stage:
    """What a fault is played on.

    Attributes:
        nomad: an agent in memory, shared by all that do not stop it.
    """

    bao: Bao
    nomad: DevAgent
    folder: Path
    _turn: threading.Lock

    @contextmanager
    def scene(
        self,
        name: str,
        *,
        nomad: DevAgent | None = None,
        waits: bool = False,
        **nomad_settings: Any,
    ) -> Iterator[Scene]:
        """Two actions, good and bad.

        Args:
            waits: the formulas wait until ``open_gate``.
        """
        root = self.folder / name.replace(" ", "-")
        root.mkdir()
        with self._turn:  # they share what `apply` writes to the vault
            scene = set_two(
                root,
                self.bao,
                nomad=nomad or self.nomad,
                max_run_s=300,
                waits=waits,
                **nomad_settings,
            )
        with cleared(scene):
            yield scene


@eventually
def until_at_rest(scene: Scene) -> None:
    assert variables(scene) == RESTING_VARIABLES


def whole(stage: Stage, scene: Scene) -> None:
    """Everything went as if nothing had happened, and nothing is left."""
    ended_well(scene, stage.bao)
    until_at_rest(scene)
    assert children(scene) == []


def assert_all_dead(jobs: list[Any]) -> None:
    assert [job["Status"] for job in jobs if job["ParentID"] and job["Status"] != "dead"] == []


def assert_equal(found: object, wanted: object) -> None:
    assert found == wanted


def assert_failed(scene: Scene, ids: list[str]) -> None:
    api = operator_api(scene)
    for child in ids:
        allocations = api.allocations(child)
        assert allocations
        assert allocations[0]["ClientStatus"] == "failed"


def nomad(server: DevAgent, *words: str) -> None:
    """Nomad's own command line."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(server.directory), **server.environ}
    subprocess.run(["nomad", *words], env=environ, check=True, capture_output=True)


def assert_all_run(api: Any, ids: list[str]) -> None:
    """The servers know that they run, and not only the client."""
    assert len(ids) == len(deaths.ACTIONS)
    for child in ids:
        assert [a["ClientStatus"] for a in api.allocations(child)] == ["running"]


def assert_at_least(found: int, wanted: int) -> None:
    assert found >= wanted
