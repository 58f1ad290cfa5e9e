"""What somebody who may push does to the results of sidecars: what ran still counts."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.sources import Look, Wants
from tests.servers.bao import Bao
from tests.support.issue_stage import IssueStage
from tests.support.stage import set_stage

pytestmark = pytest.mark.needs("bao", "git", "ssh-keygen")

RULES = """
[projects.app]
repository = "own/app"
bot = "reader"
[rules.triage]
formula = "hello"
labels = ["bug"]
cool_down = "1s"
"""
RESULT = "vault/actions/triage-app-1-1.result.json"


class Watched:
    """The source of sidecars, whose watcher reads whenever the source is asked."""

    kind = "sidecar"

    def __init__(self, issues: IssueStage) -> None:
        self._issues = issues

    def look(self, look: Look) -> Wants:
        issues = self._issues
        issues.now = time.time() + 3600.0  # beyond every cool-down
        look = replace(look, now=issues.now)
        issues.source.look(look)
        issues.watcher.hurry()
        issues.watcher.work()
        return issues.source.look(look)


def test_a_run_counts_although_its_result_was_edited(tmp_path: Path, vault: Bao) -> None:
    stage = set_stage(tmp_path, vault)
    state_dir = tmp_path / "issues"
    state_dir.mkdir()
    issues = IssueStage(state_dir, rules=RULES, now=time.time())
    stage.change = lambda components: replace(components, sources=(Watched(issues),))
    try:
        issues.issue("bug")
        stage.once()
        assert set(stage.scene.results()) == {"triage-app-1-1"}
        stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
        edited = json.dumps({"id": "triage-app-1-1", "verdict": "failed"})
        stage.scene.merge({RESULT: edited}, "Edit it")
        issues.restart()
        stage.once()
        assert [s.key.action_id for s in stage.scheduler.submitted] == ["triage-app-1-1"]
    finally:
        stage.stop()
