"""The example of docs/provisioners.md as it stands there, on both engines: a schema, a bar, an entry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.devservers.scene import Scene
from dispatcher.errors import Exit
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.support.cli_process import disinto
from tests.support.serving import ROOT, all_results, serving

DROP = '{"x-disinto": {"destroys": "note"}}'
PAUSE = 'sleep "${PAUSE:-2}"'
DROPS = 'printf \'{"inventory": {"id": "note-1"}}\' > "$DISINTO_OUTPUTS"\n'


def examples() -> dict[str, str]:
    """The files of the page, by name."""
    page = (ROOT / "docs" / "provisioners.md").read_text("utf-8")
    found = re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```\n", page, re.DOTALL)
    return dict(found)


def test_the_formula_has_ten_lines() -> None:
    assert len(examples()["make-note.sh"].splitlines()) <= 10


def play(root: Path, bao: Bao, *, nomad: Nomad | None) -> None:
    """The formula's pause lasts until its progress was seen, by a file in a mount of the run's."""
    server, files = bao.with_own_mount(), examples()
    data = root / "data"
    data.mkdir()
    there = "~/data" if nomad is None else data
    formula = files["make-note.sh"].replace(PAUSE, f"until [ -e {there}/go ]; do sleep 0.1; done")
    assert formula != files["make-note.sh"]
    action = files["note-1.toml"]
    local: dict[str, Any] = {}
    if nomad is None:
        action = action.replace("[params]", 'mounts = ["agent-data"]\n[params]')
        local = {"local": {"mounts": {"agent-data": str(data)}, "allow_unprotected_mounts": True}}
    scene = Scene.set(
        root,
        server,
        values={},
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "ops_repo": {"poll_interval_s": 0.2},
            "limits": {"max_run_s": 60},
            **local,
        },
        tiers={"make-note": "low", "drop-note": "low"},
        formulas={
            "make-note.sh": formula,
            "make-note.schema.json": files["make-note.schema.json"],
            "drop-note.sh": DROPS,
            "drop-note.schema.json": DROP,
        },
        nomad=nomad,
    )
    try:
        _played(scene, action, go=data / "go")
    finally:
        scene.clear()


def _played(scene: Scene, action: str, *, go: Path) -> None:
    bad = action.replace("note-1", "note-2").replace('text = "hello"', "texts = 1")
    scene.merge(
        {"vault/actions/note-1.toml": action, "vault/actions/note-2.toml": bad}, "Add two notes"
    )
    with serving(scene):

        @tenacity.retry(
            stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.3), reraise=True
        )
        def progress_is_shown() -> None:
            shown = _json(scene, "status")["open"]
            (record,) = [each for each in shown if each["id"] == "note-1"]
            assert record["progress"]["stage"] == "checking", record
            assert record["progress"]["percent"] == 60

        progress_is_shown()
        go.touch()
        results = all_results(scene, ["note-1", "note-2"])
        assert results["note-1"]["verdict"] == "succeeded", results["note-1"]
        assert results["note-2"]["verdict"] == "invalid"
        assert "params.text is missing" in results["note-2"]["error"]
        (entry,) = _json(scene, "inventory", "note", "--probe")["entries"]
        assert (entry["id"], entry["believed"], entry["entry"]) == (
            "note-1",
            True,
            {"text": "hello"},
        )
        drop = 'id = "drop-1"\nformula = "drop-note"\ncontext = ""\nsecrets = []\n'
        scene.git("pull", "--quiet", "--rebase", "origin", "main")
        scene.merge({"vault/actions/drop-1.toml": drop}, "Drop it")
        assert all_results(scene, ["drop-1"])["drop-1"]["verdict"] == "succeeded"
    assert _json(scene, "inventory")["entries"] == []


def _json(scene: Scene, *words: str) -> dict[str, Any]:
    done = disinto("--config", str(scene.config), *words, "--json", env=scene.environ, cwd=ROOT)
    assert done.code == Exit.OK, done.err
    answer: dict[str, Any] = done.json
    return answer


@pytest.mark.needs("bao", "bwrap")
def test_on_the_local_engine(bao_server: Bao, tmp_path: Path) -> None:
    play(tmp_path, bao_server, nomad=None)


@pytest.mark.needs("bao", "nomad")
@pytest.mark.slow
def test_on_nomad(bao_server: Bao, nomad: Nomad, tmp_path: Path) -> None:
    play(tmp_path, bao_server, nomad=nomad)
