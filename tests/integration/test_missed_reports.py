"""A leader on another machine reports what the one before it had retired and could not report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.decide.sidecar_rules import parse_sidecars
from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.gate.issue_report import IssueReporter
from dispatcher.loop.components import Components
from dispatcher.loop.outbox import NAME as OUTBOX
from tests.fakes.source import Wishes, wish
from tests.servers.bao import Bao
from tests.support.issue_place import board_of, caller
from tests.support.stage import Stage, set_stage

pytestmark = pytest.mark.needs("bao", "git")

ISSUE = "/repos/own/app/issues/1"
ACTION = "hello-app-1-1"
SIDECARS = parse_sidecars(
    b"""
[projects.app]
repository = "own/app"
bot = "reader"
[rules.hello]
formula = "hello"
labels = ["bug"]
""",
    path="sidecars.toml",
)


@pytest.fixture
def forge() -> IssueForge:
    forge = IssueForge()
    forge.repository("own/app", bot="write")
    forge.fill("own/app", 1, "bug")
    return forge


@pytest.fixture
def wishes() -> Wishes:
    params = {"rule": "hello", "project": "app", "repository": "own/app", "issue_number": 1}
    return Wishes([wish(ACTION, params=params)], kind="sidecar", ended=(ACTION,))


@pytest.fixture
def stage(tmp_path: Path, vault: Bao, forge: IssueForge, wishes: Wishes) -> Iterator[Stage]:
    def changed(components: Components) -> Components:
        reporter = IssueReporter(
            lambda name: board_of(forge, name, "bot"),
            files=components.repo,
            written=components.written,
            sidecars=lambda: SIDECARS,
            ops_repository="",
            ops_web_url="",
        )
        return replace(components, sources=(wishes,), issue_reporter=reporter)

    stage = set_stage(tmp_path, vault)
    stage.change = changed
    yield stage
    stage.stop()


@pytest.fixture
def comments(forge: IssueForge) -> Callable[[], list[dict[str, Any]]]:
    owner = caller(forge, "own")
    return lambda: list(owner("GET", f"{ISSUE}/comments", None))


def test_another_machine_reports_once_what_was_retired_unreported(
    stage: Stage, forge: IssueForge, comments: Callable[[], list[dict[str, Any]]]
) -> None:
    forge.down = True
    stage.once()
    assert stage.scene.results()[ACTION]["verdict"] == "succeeded"
    assert not stage.components.ledger.open_runs(), "its claim is retired"
    shutil.rmtree(stage.components.settings.state_dir / OUTBOX)
    forge.down = False
    assert comments() == []

    stage.once()
    (comment,) = comments()
    assert "| `hello` | 1 | succeeded |" in comment["body"]
    forge.calls.clear()
    stage.once()  # and a third one, which knows as little
    assert comments() == [comment]
    assert {call.partition(" ")[0] for call in forge.calls} == {"GET"}
    assert len(forge.calls) <= 5


def test_a_result_that_somebody_forged_is_not_reported(
    stage: Stage, forge: IssueForge, comments: Callable[[], list[dict[str, Any]]]
) -> None:
    forge.down = True
    stage.once()
    shutil.rmtree(stage.components.settings.state_dir / OUTBOX)
    forge.down = False
    name = f"vault/actions/{ACTION}.result.json"
    text = stage.scene.git("show", f"main:{name}", cwd=stage.scene.remote)
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    forged = text.replace('"logs": "', '"logs": "forged ')
    assert forged != text
    stage.scene.merge({name: forged}, "Forge it")
    stage.once()
    assert comments() == []
