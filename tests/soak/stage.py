"""What a soak is played on: a scene with formulas that count their starts, on one of two engines."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.devservers.scene import Scene
from tests.servers.git_remote import GitRemote
from tests.soak.vault import LastingBao

if TYPE_CHECKING:
    from tests.servers.nomad_cluster import Cluster

PROVISIONAL_S = 15
CODES: Mapping[str, int] = {"quick": 0, "slow": 0, "long": 0, "bad": 3, "noisy": 0}
"""Formulas of tier low, with their exit codes. ``danger`` is of tier high, and nobody approves it."""

_BODIES: Mapping[str, str] = {
    "quick": "",
    "slow": "sleep 1.$((RANDOM % 10))\n",
    "long": "sleep $((5 + RANDOM % 10))\n",
    "bad": "exit 3\n",
    "noisy": "head -c 200000 /dev/urandom | base64\n",
    "danger": "",
}


@dataclass(kw_only=True)
class Stage:
    """Attributes:
    scene: with the settings of the dispatcher.
    vault: may be killed and started.
    cluster: the Nomad; None for the local engine.
    formulas: of every action that people merged, by id.
    attacked: ids whose files or results somebody hostile wrote.
    lives: how often each kind of thing was killed.
    """

    scene: Scene
    vault: LastingBao
    cluster: Cluster | None
    formulas: dict[str, str] = field(default_factory=dict)
    attacked: set[str] = field(default_factory=set)
    lives: dict[str, int] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        return "local" if self.cluster is None else "nomad"

    @property
    def remote(self) -> GitRemote:
        """The remote, for people and others who push; it may be away."""
        return GitRemote.there(self.scene.remote)

    @property
    def marks(self) -> Path:
        """One line for each start of a formula: the action's id."""
        return self.scene.root / "data" / "marks"

    def counted(self, what: str) -> None:
        """Something was done to the stage."""
        self.lives[what] = self.lives.get(what, 0) + 1

    def runners(self) -> list[int]:
        """Processes of runs: the runners, and what they started."""
        places = [str(self.scene.root).encode()]
        if self.cluster is not None:
            places += [str(c.folder).encode() for c in self.cluster.clients.values()]
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                about = command + (entry / "environ").read_bytes()
                if b"dispatcher.runner" in command and any(place in about for place in places):
                    found.append(int(entry.name))
        return found

    def kill_runner(self, pid: int) -> None:
        """End a runner as the kernel does when memory runs out."""
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            self.counted("runner killed")


@contextmanager
def stage(root: Path, vault: LastingBao, cluster: Cluster | None = None) -> Iterator[Stage]:
    """Build one in an empty directory."""
    (root / "data").mkdir()
    marks = root / "data" / "marks"
    marks.touch()
    where = f"{marks}" if cluster is not None else "~/data/marks"
    begin = (
        f'#!/bin/bash\ntest "$TOKEN_A" = value-of-a || exit 9\necho $DISINTO_ACTION_ID >> {where}\n'
    )
    scene = Scene.set(
        root,
        vault.server,
        nomad=cluster.agent if cluster is not None else None,
        values={"TOKEN_A": "value-of-a"},
        settings=_settings(root, nomad=cluster is not None),
        tiers=dict.fromkeys(CODES, "low"),
        formulas={f"{name}.sh": begin + body for name, body in _BODIES.items()},
    )
    try:
        yield Stage(scene=scene, vault=vault, cluster=cluster)
    finally:
        scene.clear()


def _settings(root: Path, *, nomad: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "limits": {"max_in_flight": 6, "max_run_s": 60},
        "vault": {"timeout_s": 1.0},
        "ops_repo": {"poll_interval_s": 0.5, "timeout_s": 10.0},
        "grants": {"provisional_ttl_s": PROVISIONAL_S},
        "archive": {"after_days": 0},
    }
    if nomad:
        settings["nomad"] = {"lease_ttl_s": 10, "node_pool": "all"}
    else:
        mounts = {"agent-data": str(root / "data")}
        settings["local"] = {"mounts": mounts, "allow_unprotected_mounts": True}
    return settings


def action(action_id: str, formula: str, *, mount: bool, context: str = "") -> str:
    """An action's file."""
    mounts = '"agent-data"' if mount else ""
    return (
        f'id = "{action_id}"\nformula = "{formula}"\ncontext = "{context}"\n'
        f'secrets = ["TOKEN_A"]\nmounts = [{mounts}]\n'
    )
