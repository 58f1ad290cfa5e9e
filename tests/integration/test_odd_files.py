"""Files that nobody should put into ``vault/actions``: each is ``invalid``, none ever runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.bao import Bao
from tests.support.stage import Stage, action, path, set_stage
from tests.support.thorough import tries


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server, limits={"max_in_flight": 64})
    yield stage
    stage.stop()


def test_every_odd_file_is_invalid_and_none_runs(stage: Stage) -> None:
    desk = stage.scene.desk / "vault" / "actions"
    desk.mkdir(parents=True)
    (desk / "link.toml").symlink_to("/etc/passwd")
    (desk / "folder.toml").mkdir()
    (desk / "folder.toml" / "inner").write_text("x")
    stage.scene.merge(
        {
            path("empty"): b"",
            path("huge"): action("huge").encode() + b"#" * 50_000_000,
            path("latin"): action("latin").encode() + b'x = "\xe9"\n',
            path("nul"): action("nul").encode().replace(b'"c"', b'"c\x00"'),
            path("climb"): action("../climb"),
            path("good"): action("good"),
        },
        "Add odd files",
    )
    stage.once()
    results = stage.scene.results()
    errors = {i: str(r["error"]) for i, r in results.items() if r["verdict"] == "invalid"}
    assert set(results) == {
        "empty", "huge", "latin", "nul", "climb", "link", "folder", "good",
    }  # fmt: skip
    assert [s.key.action_id for s in stage.scheduler.submitted] == ["good"]
    assert "symbolic link" in errors["link"]
    assert "folder" in errors["folder"]
    assert "50,000" in errors["huge"] or "50000" in errors["huge"]
    assert all(f"vault/actions/{name}.toml" in error for name, error in errors.items())


MANY = int(os.environ.get("DISINTO_MANY") or tries(150, 1_000))
"""Actions in one push. 5,000 take two minutes of CPU time."""


@pytest.mark.slow
def test_many_actions_in_one_push(stage: Stage) -> None:
    names = [f"n{number:04}" for number in range(MANY)]
    more = {path(f"bad{number}"): "id = 1\n" for number in range(10)}
    stage.scene.merge({**{path(n): action(n) for n in names}, **more}, "Add many")
    stage.once()
    verdicts = [r["verdict"] for r in _all(stage).values()]
    assert (verdicts.count("succeeded"), verdicts.count("invalid")) == (MANY, 10)
    assert len({s.key for s in stage.scheduler.submitted}) == MANY
    assert not stage.components.ledger.open_runs()


def _all(stage: Stage) -> dict[str, dict[str, object]]:
    """All results by one clone: a ``git show`` for each would take minutes."""
    import json

    clone = stage.scene.root / "all"
    stage.scene.git("clone", "--quiet", str(stage.scene.remote), str(clone), cwd=stage.scene.root)
    files = (clone / "vault" / "actions").glob("*.result.json")
    return {f.name.removesuffix(".result.json"): json.loads(f.read_text()) for f in files}
