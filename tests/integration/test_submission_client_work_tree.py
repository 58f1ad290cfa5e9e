"""A file that is sent from inside a work tree of the ops repo leaves it fit for ``git pull``."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.devservers.scene import Scene
from tests.integration.test_submission_client import FakeForge, desk_of, head, scene, shown, write

__all__ = ["scene"]


def in_place(scene: Scene, action_id: str, formula: str) -> Path:
    """An action's file at its final path in the person's clone, untracked."""
    target = scene.desk / "vault" / "actions" / f"{action_id}.toml"
    target.parent.mkdir(parents=True, exist_ok=True)
    return write(scene, action_id, formula).rename(target)


def status(scene: Scene) -> str:
    return scene.git("status", "--porcelain", cwd=scene.desk)


def test_the_work_tree_comes_to_the_commit(scene: Scene) -> None:
    sent = desk_of(scene).send(in_place(scene, "a", "hello"), sign=False)
    assert scene.git("rev-parse", "HEAD", cwd=scene.desk) == sent.commit == head(scene)
    assert status(scene) == ""
    assert "up to date" in sent.summary
    scene.git("pull", cwd=scene.desk)


def test_a_request_is_pulled_once_it_is_merged(scene: Scene) -> None:
    sent = desk_of(scene, FakeForge()).send(in_place(scene, "a", "danger"), sign=False)
    assert "staged" in sent.summary
    scene.git("push", str(scene.remote), "disinto/a:main", cwd=scene.remote)
    scene.git("pull", "--ff-only", cwd=scene.desk)
    assert status(scene) == ""
    assert 'id = "a"' in shown(scene, "vault/actions/a.toml")


def test_work_of_the_persons_own_is_left_alone(scene: Scene) -> None:
    """The branch has a commit that was not pushed: nothing is merged for them."""
    (scene.desk / "mine").write_text("mine\n")
    scene.git("add", "mine", cwd=scene.desk)
    scene.git("commit", "-m", "Mine", cwd=scene.desk)
    before = scene.git("rev-parse", "HEAD", cwd=scene.desk)
    desk_of(scene).send(in_place(scene, "a", "hello"), sign=False)
    assert scene.git("rev-parse", "HEAD", cwd=scene.desk) == before
    scene.git("commit", "-m", "The same", cwd=scene.desk)
    scene.git("pull", "--rebase", cwd=scene.desk)
    assert status(scene) == ""


@pytest.mark.parametrize("where", ["elsewhere", "another repository"])
def test_a_file_that_lies_elsewhere_is_not_touched(scene: Scene, where: str) -> None:
    file = write(scene, "a", "hello")
    if where == "another repository":
        other = scene.root / "other"
        scene.git("init", "-q", str(other), cwd=scene.root)
        (other / "vault" / "actions").mkdir(parents=True)
        file = file.rename(other / "vault" / "actions" / "a.toml")
    before = status(scene)
    sent = desk_of(scene).send(file, sign=False)
    assert "staged" not in sent.summary
    assert status(scene) == before
    if where == "another repository":
        assert scene.git("status", "--porcelain", cwd=other) == "?? vault/"
