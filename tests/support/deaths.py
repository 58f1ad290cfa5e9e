"""Two actions, one that succeeds and one that fails, and a dispatcher that dies among them. Both leave
something that the inventory has to have.

What ran is counted by the formulas themselves, in a file that only they write.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import tenacity

from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.support.evidence import live_grants
from tests.support.serving import ROOT

BOUNDARIES = [
    f"{side} {step}"
    for step in (
        "mint",
        "claim",
        "extend",
        "submit",
        "record submitted",
        "revoke",
        "record ended",
        "commit",
        "push",
        "forget",
        "release",
    )
    for side in ("before", "after")
] + ["after exit"]
"""Between any two steps of a run; ``faulty`` knows them too."""

ACTIONS = {"good": 0, "bad": 3}
"""Exit codes by id."""


CREATES = '{"x-disinto": {"creates": "machine"}}'
"""The schema of both formulas."""


def set_scene(
    root: Path,
    server: Bao,
    *,
    marks: str,
    script: str = "",
    mounts: str = "",
    nomad: DevAgent | None = None,
    settings: dict[str, Any],
) -> Scene:
    """A scene with formulas ``good`` and ``bad``, tier low, which leave a mark each time they run.

    Args:
        marks: path that the formulas append their action's id to.
        script: what else they do, after that.
        mounts: of both, as TOML.
    """
    begin = (
        f'#!/bin/bash\ntest -n "$TOKEN_A" || exit 9\necho $DISINTO_ACTION_ID >> {marks}\n'
        f'echo \'{{"inventory": {{"address": "198.51.100.7"}}}}\' > "$DISINTO_OUTPUTS"\n{script}\n'
    )
    scene = Scene.set(
        root,
        server,
        nomad=nomad,
        values={"TOKEN_A": "value-of-a"},
        settings={"vault": {"kv_mount": server.kv_mount}, **settings},
        tiers={"good": "low", "bad": "low"},
        formulas={
            **{f"{name}.sh": f"{begin}exit {code}\n" for name, code in ACTIONS.items()},
            **dict.fromkeys((f"{name}.schema.json" for name in ACTIONS), CREATES),
        },
    )
    (root / "data").mkdir()
    (root / "data" / "marks").touch()
    actions = {path(name): action(name, name, root.name, mounts=mounts) for name in ACTIONS}
    scene.merge(actions, "Add two")
    return scene


def path(action_id: str) -> str:
    return f"vault/actions/{action_id}.toml"


def action(action_id: str, formula: str, context: str, *, mounts: str = "") -> str:
    """An action; what stands in its context tells its blob from those of other scenes."""
    return (
        f'id = "{action_id}"\nformula = "{formula}"\ncontext = "{context}"\n'
        f'secrets = ["TOKEN_A"]\nmounts = [{mounts}]\n'
    )


def serve_once(scene: Scene, boundary: str = "-") -> tuple[int, list[str]]:
    """Run the dispatcher to its end, or to its death; the boundaries that it passed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.faulty", str(scene.config), boundary],
        env={**scene.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def runs(scene: Scene) -> Counter[str]:
    """How often each action ran."""
    return Counter((scene.root / "data" / "marks").read_text().split())


def assert_inventory(scene: Scene) -> None:
    """What each run left is in the inventory, by the commit that brought its result."""
    for name in ACTIONS:
        entry, result = f"vault/inventory/machine/{name}.json", f"vault/actions/{name}.result.json"
        (brought,) = scene.git("log", "--format=%H", "main", "--", entry, cwd=scene.remote).split()
        assert brought in scene.git("log", "--format=%H", "main", "--", result, cwd=scene.remote)
        file = json.loads(scene.git("show", f"main:{entry}", cwd=scene.remote))
        assert (file["id"], file["result"]) == (name, name)
        assert file["entry"] == {"address": "198.51.100.7"}


def assert_each_ran_once(scene: Scene, server: Bao, *, orphans_for_s: float) -> None:
    """Each action ran once and has its result; no grant lives, and the clone is whole.

    Args:
        orphans_for_s: how long the grant of a dispatcher that died after minting it may live.
    """
    results = scene.results()
    assert set(results) == set(ACTIONS), "every action gets its result"
    for name, exit_code in ACTIONS.items():
        result = results[name]
        verdict = "succeeded" if exit_code == 0 else "failed"
        assert (result["verdict"], result["exit_code"]) == (verdict, exit_code), result
        assert runs(scene)[name] == 1, "an action runs once"

    assert_inventory(scene)

    @tenacity.retry(
        stop=tenacity.stop_after_delay(orphans_for_s), wait=tenacity.wait_fixed(0.2), reraise=True
    )
    def no_grant_stays() -> None:
        blobs = {result["blob"] for result in results.values()}
        assert live_grants(server, set(ACTIONS), blobs=blobs) == []

    no_grant_stays()
    subprocess.run(
        ["git", "fsck", "--strict", "--no-dangling"],
        cwd=scene.open_settings().state_dir / "ops.git",
        check=True,
        capture_output=True,
    )
