"""The commands about stacks: each writes an action, and reads the inventory that results make."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.cli.edge import run
from dispatcher.errors import Exit
from tests.servers.bao import Bao
from tests.support.desktop_stage import finish, submitted
from tests.support.stack_scene import stack_scene
from tests.support.stage import Stage

pytestmark = pytest.mark.needs("bao", "git")


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    with stack_scene(tmp_path, bao_server) as stage:
        yield stage


def commands(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Gives a command about stacks; its exit code, output and messages."""
    for name, value in stage.scene.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(stage.scene.desk)

    def stack(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["--config", str(stage.scene.config), "stack", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return stack


def test_from_deployment_to_destruction(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = commands(stage, monkeypatch, capsys)
    code, _, err = stack("check", "admin")
    assert (code, "the name admin is reserved" in err) == (Exit.DATAERR, True)
    assert stack("check", "alice")[1] == "alice is free\n"
    deploy = ("deploy", "alice", "--image", "a/b:1", "--env", "A=b c", "--env-from", "MODEL_KEY")
    code, _, err = stack(*deploy, "--no-follow")
    assert code == Exit.OK, err
    spec = submitted(stage, "stack-alice")
    assert spec.job_class == "provision"
    assert spec.params == {
        "name": "alice", "image": "a/b:1", "environment": {"A": "b c"},
        "environment_secrets": ["MODEL_KEY"],
    }  # fmt: skip
    assert stack("list")[1].splitlines()[1].split()[:2] == ["stack-alice", "CREATING"]
    code, _, err = stack("deploy", "alice", "--no-follow")
    assert (code, "taken, by stack-alice" in err) == (Exit.CANTCREAT, True), err
    entry = {
        "name": "alice", "state": "RUNNING", "url": "https://alice.stacks.example/", "image": "a/b:1",
        "run_key": spec.key.token, "answered": "GET /: 200",
    }  # fmt: skip
    finish(stage, spec.key, entry)
    assert "url           https://alice.stacks.example/\n" in stack("show", "stack-alice")[1]

    code, _, err = stack("update", "stack-alice")
    assert (code, "othing would change" in err) == (Exit.USAGE, True)
    assert stack("update", "stack-alice", "--image", "a/b:2", "--no-follow")[0] == Exit.OK
    spec = submitted(stage, "update-stack-alice")
    assert spec.params == {"id": "stack-alice", "image": "a/b:2"}
    assert "updates stack-alice already" in stack("update", "stack-alice", "--image", "a/b:3")[2]
    finish(stage, spec.key, {**entry, "id": "stack-alice", "image": "a/b:2"})
    (listed,) = json.loads(stack("list", "--json")[1])["stacks"]
    assert (listed["image"], listed["believed"]) == ("a/b:2", True)

    code, out, err = stack("reap", "--no-follow", "--json")
    assert code == Exit.OK, err
    params = submitted(stage, json.loads(out)["id"]).params
    assert set(params) == {"listed_at", "known_runs"}
    assert entry["run_key"] in params["known_runs"]
    assert stack("destroy", "stack-alice", "--yes", "--no-follow")[0] == Exit.OK
    spec = submitted(stage, "destroy-stack-alice")
    finish(stage, spec.key, {"id": "stack-alice"})
    assert stack("list")[1] == ""
    assert "was destroyed by destroy-stack-alice" in stack("destroy", "stack-alice", "--yes")[2]


def test_a_name_is_taken_by_its_action_not_by_its_id(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = commands(stage, monkeypatch, capsys)
    assert (
        stack("deploy", "team-7", "--image", "a/b:1", "--id", "other", "--no-follow")[0] == Exit.OK
    )
    code, _, err = stack("check", "team-7")
    assert (code, "taken, by other" in err) == (Exit.CANTCREAT, True), (
        "by its action, not by its id"
    )
