"""Which commit a deploy takes: the branch's head, one that was named, or none of itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dispatcher.errors import NotFound
from dispatcher.release import lock
from dispatcher.release.outcome import Outcome
from tests.support.quick_calls import called
from tests.support.release_stage import ReleaseStage, git

pytestmark = pytest.mark.needs("git")

NOT_FOR_A_NO_OP = (
    "httpx", "jinja2", "dispatcher.runner", "dispatcher.model.run", "ahocorasick_rs",
    "dispatcher.settings", "dispatcher.release.installation", "dispatcher.release.doctor", "asyncio", "rich",
)  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path) -> ReleaseStage:
    made = ReleaseStage(tmp_path)
    assert made.deploy().outcome == Outcome.DEPLOYED
    return made


def test_a_named_commit_is_deployed_in_place_of_the_head(stage: ReleaseStage) -> None:
    second = stage.push({"lib": "2"})
    third = stage.push({"lib": "3"})
    with lock.locked(stage.application.layout, "timer"):
        with pytest.raises(lock.Held, match="Run this again when it has ended"):
            stage.deployer().deploy(commit=second)
        assert not stage.application.layout.requested.exists(), "it would be the newest head"
    last = stage.deployer().deploy(commit=second[:10])
    assert (last.outcome, last.commit, last.wanted) == ("deployed", second, second)
    stage.assert_on(second, lib="2")
    assert stage.tick().commit == third
    stage.assert_on(third, lib="3")


def test_a_later_commit_of_the_branch_stays(stage: ReleaseStage) -> None:
    """Even if a deploy is forced: an earlier commit is deployed by a rollback alone."""
    second = stage.push({"lib": "2"})
    third = stage.push({"lib": "3"})
    stage.tick()
    stage.push({"lib": "4"})
    last = stage.deployer().deploy(commit=second, force=True)
    assert (last.outcome, last.commit, last.wanted) == ("up-to-date", third, second)
    stage.assert_on(third, lib="3")


def test_a_branch_that_was_set_back_is_followed(stage: ReleaseStage) -> None:
    stage.push({"lib": "2"})
    stage.tick()
    git(stage.work, "reset", "-q", "--hard", stage.first)
    git(stage.work, "push", "-q", "--force", "origin", "HEAD:main")
    assert stage.deployer().deploy(commit=stage.first).outcome == Outcome.DEPLOYED
    stage.assert_on(stage.first, lib="1")


def test_a_commit_that_is_not_on_the_branch_is_refused(stage: ReleaseStage) -> None:
    git(stage.work, "checkout", "-q", "-b", "other")
    (stage.work / "lib").write_text("other")
    git(stage.work, "commit", "-qam", "other")
    git(stage.work, "push", "-q", "origin", "other")
    elsewhere = git(stage.work, "rev-parse", "HEAD")
    git(stage.root / "src", "fetch", "-q", str(stage.remote), "other")
    for commit in (elsewhere, "f" * 40):
        with pytest.raises(NotFound, match=f"main has no commit {commit[:12]}"):
            stage.deployer().deploy(commit=commit)
    stage.assert_on(stage.first, lib="1")


def test_a_head_that_failed_is_not_retried_after_a_named_commit(stage: ReleaseStage) -> None:
    good = stage.push({"lib": "2"})
    bad = stage.push({"healthy": "no"})
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    assert stage.deployer().deploy(commit=good).outcome == Outcome.DEPLOYED
    failure = stage.records.failure()
    assert failure is not None
    assert failure.commit == bad
    assert stage.tick().outcome == Outcome.NOT_RETRIED
    stage.assert_on(good, lib="2")


def test_without_automatic_the_timer_only_repairs(stage: ReleaseStage) -> None:
    file = stage.root / "release.toml"
    file.write_text("automatic = false\n" + file.read_text())
    second = stage.push({"lib": "2"})
    last = stage.tick()
    assert (last.outcome, last.commit) == ("not-automatic", stage.first)
    stage.assert_on(stage.first, lib="1")
    with lock.locked(stage.application.layout, "person"), pytest.raises(lock.Held):
        stage.tick()
    assert not stage.application.layout.requested.exists(), "it asked for no other deploy"
    stage.killed("restart", "end")
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    stage.assert_on(stage.first, lib="1")
    assert stage.tick().outcome == Outcome.NOT_AUTOMATIC
    assert stage.deploy().outcome == Outcome.DEPLOYED
    stage.assert_on(second, lib="2")


def test_a_deploy_with_nothing_to_do_loads_little(stage: ReleaseStage) -> None:
    words = ("release", "deploy", "--timer", "--root", str(stage.root))
    done, loaded = called(*words, env=dict(os.environ), slow=NOT_FOR_A_NO_OP)
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "up-to-date")
    assert loaded == []
