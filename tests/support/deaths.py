"""Two actions, one that succeeds and one that fails, and a dispatcher that dies among them. Both leave
something that the inventory has to have, and write output that has to be kept.

What ran is counted by the formulas themselves, in a file that only they write.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
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


OUTPUT = {name: {"stdout": f"out of {name}\n", "stderr": f"err of {name}\n"} for name in ACTIONS}
"""What their formulas write, by id and stream."""

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
    actions: Iterable[str] = tuple(ACTIONS),
) -> Scene:
    """A scene with formulas ``good`` and ``bad``, tier low, which leave a mark each time they run.

    Args:
        marks: path that the formulas append their action's id to.
        script: what else they do, after that.
        mounts: of both, as TOML.
        actions: which of them are merged.
    """
    begin = (
        f'#!/bin/bash\ntest -n "$TOKEN_A" || exit 9\necho $DISINTO_ACTION_ID >> {marks}\n'
        f'echo \'{{"inventory": {{"address": "198.51.100.7"}}}}\' > "$DISINTO_OUTPUTS"\n'
        f"echo out of $DISINTO_ACTION_ID\necho err of $DISINTO_ACTION_ID >&2\n{script}\n"
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
    if files := {path(name): action(name, name, root.name, mounts=mounts) for name in actions}:
        scene.merge(files, "Add actions")
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


def assert_output_is_kept(scene: Scene, written: Mapping[str, Mapping[str, str]] = OUTPUT) -> None:
    """What each run wrote is on the remote, in the month that its result names, and as its result
    says; nothing waits for a push.

    Args:
        written: by id and stream.
    """
    results = scene.results()
    for name, streams in written.items():
        output = results[name]["output"]
        if output["missing"]:
            assert scene.nomad is not None, output  # a busy server may not send it in time
            continue
        month = f"refs/disinto/logs/{output['month']}"
        kept = scene.git("rev-list", "--objects", month, cwd=scene.remote).split()
        for stream, text in streams.items():
            named = output[stream]
            assert named["object"] in kept
            packed = subprocess.run(
                ["git", f"--git-dir={scene.remote}", "cat-file", "blob", named["object"]],
                check=True,
                capture_output=True,
            ).stdout
            assert hashlib.sha256(packed).hexdigest() == named["sha256"]
            assert len(packed) == named["packed"]
            assert gzip.decompress(packed).decode() == text
            assert (named["bytes"], named["omitted"]) == (len(text), 0)

    @tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.2), reraise=True)
    def nothing_waits() -> None:  # a dispatcher that serves on removes it after the result
        assert list((scene.open_settings().state_dir / "outputs").iterdir()) == []

    nothing_waits()


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
    assert_output_is_kept(scene)

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
