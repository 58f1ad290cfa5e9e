"""Deploys with real git and fake units: every way in which a release can fail ends on the safe commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.errors import Misconfigured, Unavailable
from dispatcher.release import lock
from dispatcher.release.outcome import Outcome
from dispatcher.release.records import LEFT
from dispatcher.release.rollout import NoSpace
from dispatcher.release.venvs import WrongOwner
from tests.support.release_stage import BACKEND, BAD, GOOD, RELEASE, WORKER, ReleaseStage, git
from tests.support.small_disks import run_with_small_disks
from tests.support.thorough import some

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def stage(tmp_path: Path) -> ReleaseStage:
    made = ReleaseStage(tmp_path)
    assert made.deploy().outcome == Outcome.DEPLOYED
    made.assert_on(made.first, lib="1")
    made.fake.calls.clear()
    return made


def test_a_new_commit_is_deployed_and_then_nothing_changes(stage: ReleaseStage) -> None:
    second = stage.push({"lib": "2"})
    last = stage.tick()
    assert (last.outcome, last.commit, last.previous) == ("deployed", second, stage.first)
    assert [step.name for step in last.steps] == [
        "prepare", "checkout", "dependencies", "migrations", "smoke", "stamp", "restart", "health", "record",
    ]  # fmt: skip
    stage.assert_on(second, lib="2")
    assert stage.fake.calls == [f"restart {BACKEND}", f"restart {WORKER}"]
    log = stage.log
    assert stage.tick().outcome == Outcome.UP_TO_DATE
    assert stage.log == log, "nothing is logged if nothing is done"
    assert len(stage.fake.calls) == 2
    assert stage.deploy(force=True).outcome == Outcome.DEPLOYED
    assert len(stage.fake.calls) == 4


@pytest.mark.parametrize("step", some(BAD, always=("health", "migrations")))
def test_a_bad_commit_ends_on_the_safe_one(step: str, stage: ReleaseStage) -> None:
    bad = stage.push({**BAD[step], "lib": "2"})
    last = stage.tick()
    assert last.outcome == Outcome.ROLLED_BACK
    assert last.message.startswith(f"{step}: ")
    stage.assert_on(stage.first, lib="1")
    restarted = len(stage.fake.calls)
    assert restarted == (4 if step == "health" else 0), "only what had been restarted is"
    failure = stage.records.failure()
    assert failure is not None
    assert (failure.commit, failure.step) == (bad, step)
    # The timer does not try it again; a person can; and a new commit is deployed.
    assert stage.tick().outcome == Outcome.NOT_RETRIED
    assert len(stage.fake.calls) == restarted
    assert stage.deploy().outcome == Outcome.ROLLED_BACK
    good = stage.push({**GOOD, "lib": "3"})
    assert stage.tick().outcome == Outcome.DEPLOYED
    stage.assert_on(good, lib="3")
    assert stage.records.failure() is None


@pytest.mark.thorough
def test_three_bad_commits_in_a_row(stage: ReleaseStage) -> None:
    for step in ("health", "smoke", "dependencies"):
        stage.push({**GOOD, **BAD[step], "lib": step})
        assert stage.tick().outcome == Outcome.ROLLED_BACK
        stage.assert_on(stage.first, lib="1")


def test_a_rollback_needs_no_network(stage: ReleaseStage) -> None:
    stage.push(
        {"healthy": "no", "install.sh": f"mv {stage.remote} {stage.remote}.away", "lib": "2"}
    )
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    assert stage.log.count("backend: sh install.sh") == 2, "that of the safe commit was kept"
    stage.assert_on(stage.first, lib="1")
    with pytest.raises(Unavailable, match="The next deploy tries again"):
        stage.tick()
    assert stage.log.splitlines()[-1].lower().count("nothing was changed") == 1
    stage.assert_on(stage.first, lib="1")


@pytest.mark.thorough
def test_the_branch_is_rewritten(stage: ReleaseStage) -> None:
    """And git collects its garbage: earlier safe commits are kept."""
    second = stage.push({"lib": "2"})
    stage.tick()
    git(stage.work, "checkout", "-q", "--orphan", "anew")
    other = stage.push({"lib": "3"}, force=True)
    assert stage.tick().outcome == Outcome.DEPLOYED
    stage.assert_on(other, lib="3")
    git(stage.root / "src", "reflog", "expire", "--expire=now", "--all")
    git(stage.root / "src", "gc", "-q", "--prune=now")
    assert stage.deployer().rollback().outcome == Outcome.ROLLED_BACK_BY_HAND
    stage.assert_on(second, lib="2")
    stage.push({"healthy": "no"})
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    stage.assert_on(second, lib="2")


@pytest.mark.thorough
def test_what_lies_in_the_checkout(stage: ReleaseStage) -> None:
    src = stage.root / "src"
    (src / "lib").write_text("edited by hand")
    (src / "left").write_text("x")
    (src / "uploads").mkdir()
    (src / "uploads" / "kept").write_text("x")
    stage.tick()
    second = stage.push({"lib": "2"})
    assert stage.tick().outcome == Outcome.DEPLOYED
    stage.assert_on(second, lib="2")
    assert not (src / "left").exists()
    assert (src / "uploads" / "kept").exists()
    git(src, "init", "-q", "nested")
    (src / "nested" / "f").write_text("x")
    third = stage.push({"lib": "3"})
    assert stage.tick().outcome == Outcome.DEPLOYED
    stage.assert_on(third, lib="3")
    assert not (src / "nested").exists()


def test_a_first_deploy_that_fails_leaves_the_services_stopped(tmp_path: Path) -> None:
    stage = ReleaseStage(tmp_path, files={**GOOD, "healthy": "no"})
    last = stage.tick()
    assert last.outcome == Outcome.STOPPED
    assert "there is no safe commit to return to" in stage.log
    assert stage.fake.running() == {}
    assert stage.safe == ""
    assert stage.tick().outcome == Outcome.NOT_RETRIED
    good = stage.push(GOOD)
    assert stage.tick().outcome == Outcome.DEPLOYED
    stage.assert_on(good, lib="1")


@pytest.mark.thorough
def test_an_unhealthy_safe_commit_needs_a_person_and_is_tried_again(stage: ReleaseStage) -> None:
    stage.push({"lib": "2"})
    stage.fake.refuses.add(WORKER)
    last = stage.tick()
    assert last.outcome == Outcome.BROKEN
    assert "refused" in last.message
    stage.fake.refuses.clear()
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    stage.assert_on(stage.first, lib="1")


def test_values_of_env_files_are_masked(stage: ReleaseStage) -> None:
    assert "migrated with [redacted:PASSWORD]" in stage.log
    assert "hunter2" not in stage.log
    stage.push({"smoke.sh": 'echo "$PASSWORD" >&2; exit 1'})
    last = stage.tick()
    assert "[redacted:PASSWORD]" in last.message
    for path in (stage.root / "run").glob("*.json"):
        assert "hunter2" not in path.read_text()
    assert not any("hunter2" in line for line in stage.echoed)


@pytest.mark.thorough
def test_the_env_files_of_the_safe_commit_come_back(stage: ReleaseStage) -> None:
    env = stage.root / "env" / "backend.env"
    env.write_text("PASSWORD=wrong-wrong\n")
    stage.push({"healthy": "no"})
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    assert env.read_text() == "PASSWORD=hunter2hunter2\n"
    assert env.with_name("backend.env.rejected").read_text() == "PASSWORD=wrong-wrong\n"
    assert env.with_name("backend.env.rejected").stat().st_mode & 0o077 == 0


@pytest.mark.thorough
def test_migrations_are_announced_and_undone_only_if_configured(tmp_path: Path) -> None:
    stage = ReleaseStage(tmp_path)
    stage.deploy()
    stage.push({"migrations/1.sql": "x", "healthy": "no"})
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    assert "1 new migrations, not undone if the deploy fails: migrations/1.sql" in stage.log
    down = '\nrevision = "echo INFO >&2; cat revision || echo r0"\ndown = \'echo "down to $RELEASE_REVISION"; test -e migrations/1.sql\'\n'
    text = (stage.root / "release.toml").read_text()
    (stage.root / "release.toml").write_text(text.replace("\n[smoke]", down + "\n[smoke]"))
    assert stage.deploy().outcome == Outcome.ROLLED_BACK
    assert "down to r0" in stage.log
    stage.assert_on(stage.first, lib="1")


@pytest.mark.parametrize(
    "wrong", some(["venv", "venv/.commits", "venv/backend"], always=["venv/.commits"])
)
def test_a_venv_of_another_owner(
    wrong: str, stage: ReleaseStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.lstat

    def lstat(path: Path) -> object:
        found = real(path)
        if path != stage.root / wrong:
            return found
        return type(found)((*found[:4], found.st_uid + 1, *found[5:]))

    stage.push({"lib": "2"})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", lstat)
        with pytest.raises(WrongOwner, match=f"{wrong} belongs to .* repairs it"):
            stage.tick()
    stage.assert_on(stage.first, lib="1")
    assert stage.tick().outcome == Outcome.DEPLOYED


@pytest.mark.thorough
def test_a_full_disk_and_a_branch_that_is_gone(stage: ReleaseStage) -> None:
    stage.push({"lib": "2"})
    file = stage.root / "release.toml"
    text = file.read_text()
    file.write_text(text.replace("free_mb = 0", "free_mb = 1000000000"))
    with pytest.raises(NoSpace, match="MB free, 1000000000 needed"):
        stage.tick()
    file.write_text('branch = "gone"\n' + text)
    with pytest.raises(Misconfigured, match="has no branch gone"):
        stage.tick()
    stage.assert_on(stage.first, lib="1")


@pytest.mark.thorough
def test_a_disk_that_gets_full(tmp_path: Path) -> None:
    """On a small file system: see ``tests/support/release_full_disk.py``."""
    run_with_small_disks("release_full_disk", tmp_path)


@pytest.mark.thorough
def test_environments_that_a_script_built_are_adopted(tmp_path: Path) -> None:
    stage = ReleaseStage(tmp_path, release=RELEASE)
    for service in ("backend", "worker"):
        venv = stage.root / "venv" / service
        venv.mkdir(parents=True)
        (venv / "lib").write_text("1")
    git(stage.root, "clone", "-q", str(stage.remote), "src")
    (stage.root / "run").mkdir()
    (stage.root / "run" / "SAFE_COMMIT").write_text(stage.first + "\n")
    (stage.root / "run" / "version.env").write_text(f"APP_VERSION=x+{stage.first[:7]}\n")
    stage.cut_power()
    stage.push({**BAD["smoke"], "lib": "2"})
    stage.remote.joinpath("hooks").mkdir(exist_ok=True)
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    assert "dependencies: done" in stage.log
    stage.assert_on(stage.first, lib="1")


def test_a_rollback_by_hand(stage: ReleaseStage) -> None:
    second = stage.push({"lib": "2"})
    stage.tick()
    third = stage.push({"lib": "3"})
    stage.tick()
    assert stage.deployer().rollback().outcome == Outcome.ROLLED_BACK_BY_HAND
    stage.assert_on(second, lib="2")
    waits = stage.tick()
    assert waits.outcome == Outcome.NOT_RETRIED
    assert waits.message == f"{third[:12]} {LEFT}"
    assert stage.records.failure() is None, "it is healthy"
    assert stage.deployer().rollback().outcome == Outcome.ROLLED_BACK_BY_HAND
    stage.assert_on(stage.first, lib="1")
    assert stage.tick().outcome == Outcome.NOT_RETRIED, "the head was left by the first rollback"
    assert stage.deploy().outcome == Outcome.DEPLOYED
    stage.assert_on(third, lib="3")


def test_after_a_rollback_by_hand_a_head_that_failed_is_not_retried(stage: ReleaseStage) -> None:
    stage.push({"lib": "2"})
    stage.tick()
    head = stage.push({"healthy": "no"})
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    assert stage.deployer().rollback().outcome == Outcome.ROLLED_BACK_BY_HAND
    last = stage.tick()
    assert last.outcome == Outcome.NOT_RETRIED
    assert last.message.startswith(f"{head[:12]} failed at health before: ")
    stage.assert_on(stage.first, lib="1")


def test_a_rollback_by_hand_fails(stage: ReleaseStage) -> None:
    second = stage.push({"lib": "2"})
    stage.tick()
    fake = stage.fake
    stage.get = lambda url: "rotten" if fake.running()[BACKEND]["lib"] == "1" else fake.get(url)
    last = stage.deployer().rollback()
    assert last.outcome == Outcome.ROLLED_BACK
    assert last.message.startswith(f"the rollback to {stage.first[:12]} failed at health: ")
    stage.assert_on(second, lib="2")
    assert stage.records.failure() is None, "the branch's head has not failed"
    assert stage.tick().outcome == Outcome.UP_TO_DATE


def test_a_second_deploy_says_who_holds_the_lock(stage: ReleaseStage) -> None:
    stage.push({"lib": "2"})
    with lock.locked(stage.application.layout, "timer"):
        with pytest.raises(
            lock.Held, match=r"another deploy runs: pid \d+ of .*, started by the timer"
        ):
            stage.deploy()
        assert stage.application.layout.requested.exists()
    assert stage.tick().outcome == Outcome.DEPLOYED
    assert not stage.application.layout.requested.exists()
