"""Attacks on approval: every scene of the table, played. None of them may end in a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from dispatcher.forge import ForgeApi
from dispatcher.gate import TieredGate
from dispatcher.gate.approvers import Approvers
from dispatcher.gate.forgejo import ForgejoGate
from dispatcher.settings import ForgeSettings
from tests.attacks.table import TABLE, Scene
from tests.servers.forgejo import Forgejo
from tests.support.forge_stage import Stage
from tests.support.judging import Found
from tests.support.recorded import FOLDER, Recording, ReplayHistory, ReplayTransport
from tests.support.signed_stage import SignedStage


def scenes_of(attacker: str) -> pytest.MarkDecorator:
    """Every scene of an attacker, by its name."""
    return pytest.mark.parametrize("scene", TABLE[attacker].played(), ids=lambda scene: scene.name)


def play(attacker: str, scene: Scene, stage: object) -> Found:
    found = getattr(import_module(TABLE[attacker].scenes), scene.name)(stage)
    assert isinstance(found, Found)
    return found


def ends(scene: Scene, found: Found) -> None:
    """The action ends as its row says, and for that reason."""
    assert found.outcome == scene.ends, found.reason
    assert scene.says in found.reason
    assert found.decision is None or not found.decision.approved_by


@pytest.fixture
def stage(forge: Forgejo, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    scene, stage = request.getfixturevalue("scene"), Stage.build(forge, tmp_path)
    yield stage
    if (directory := os.environ.get("DISINTO_RECORD")) and stage.recording.decision:
        stage.recording.save(Path(directory) / f"{scene.name}.json")


@pytest.mark.needs("forgejo", "git")
@scenes_of("author_on_forge")
def test_author_on_forge(stage: Stage, scene: Scene) -> None:
    ends(scene, play("author_on_forge", scene, stage))


@pytest.mark.needs("git", "ssh-keygen")
@scenes_of("approver_with_git")
def test_approver_with_git(tmp_path: Path, scene: Scene) -> None:
    ends(scene, play("approver_with_git", scene, SignedStage.build(tmp_path)))


@pytest.mark.needs("git", "ssh-keygen")
@scenes_of("author_with_git")
def test_author_with_git(tmp_path: Path, scene: Scene) -> None:
    ends(scene, play("author_with_git", scene, SignedStage.build(tmp_path)))


@scenes_of("author_on_forge")
def test_author_on_recorded_answers(scene: Scene) -> None:
    recording = Recording.load(FOLDER / f"{scene.name}.json")
    approvers = recording.approvers
    api = ForgeApi(
        ForgeSettings(url="http://forge.test", repository=repository_of(recording)),
        token="t",
        transport=ReplayTransport(recording.forge),
    )
    gate = TieredGate(
        ForgejoGate(
            forge=api,
            history=ReplayHistory(recording.history),
            branch="main",
            approvers=Approvers(logins=tuple(approvers["logins"]), team=approvers["team"]),
            wall=lambda: 4e9,
        )
    )
    decision = gate.check(recording.asked())
    ends(scene, Found(outcome=decision.answer.value, reason=decision.reason, decision=decision))
    assert decision.reason == recording.decision["reason"]


def repository_of(recording: Recording) -> str:
    path = next((path for path in recording.forge if "/repos/" in path), "/repos/o/r/")
    owner, name = path.split("/repos/")[1].split("/")[:2]
    return f"{owner}/{name}"
