"""What a commit, or a command that it brings, may leave behind: the next deploy and the way back work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dispatcher.errors import InvalidSettings
from dispatcher.release.checkout import Checkout
from dispatcher.release.outcome import Outcome
from dispatcher.release.records import Damaged
from tests.support.release_stage import BACKEND, WORKER, ReleaseStage, git

pytestmark = pytest.mark.needs("git")

LEAVES = {
    "a repository": "git init -q vendor/x && echo a >vendor/x/a",
    "a sparse checkout": "git sparse-checkout set --no-cone nothing",
    "another work tree": "git config core.worktree /tmp && git config core.bare true",
    "files that git does not compare": "git update-index --assume-unchanged lib; echo 9 >lib",
    "files that git does not write": "git update-index --skip-worktree lib; echo 9 >lib",
    "directories that cannot be written": "mkdir -p a/b && touch a/b/c && chmod -R a-w a",
    "a lock of git": "touch .git/ORIG_HEAD.lock .git/index.lock",
}


@pytest.fixture
def stage(tmp_path: Path) -> ReleaseStage:
    made = ReleaseStage(tmp_path)
    last = made.deploy()
    assert last.outcome == Outcome.DEPLOYED, last.message
    return made


@pytest.mark.parametrize("left", ["a repository", *(pytest.param(each, marks=pytest.mark.thorough) for each in LEAVES if each != "a repository")])  # fmt: skip
def test_what_a_bad_commit_leaves_is_removed(left: str, stage: ReleaseStage) -> None:
    stage.push({"install.sh": LEAVES[left], "healthy": "no", "lib": "2"})
    assert stage.deploy().outcome == Outcome.ROLLED_BACK
    src = stage.root / "src"
    assert (src / "lib").read_text() == "1"
    assert {each.name for each in src.iterdir()} == {".git", *git(stage.work, "ls-tree", "--name-only", stage.first).split()}  # fmt: skip
    good = stage.push({"install.sh": "true", "healthy": "yes", "lib": "3"})
    assert stage.deploy().outcome == Outcome.DEPLOYED
    assert (src / "lib").read_text() == "3"
    assert stage.safe == good


def test_what_cannot_be_removed_stops_a_deploy_and_not_the_way_back(
    stage: ReleaseStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stage.root / "src" / "left").write_text("x")
    monkeypatch.setattr(Checkout, "_clean", lambda _: None)
    stage.push({"lib": "2"})
    last = stage.deploy()
    assert last.outcome == Outcome.ROLLED_BACK
    assert "has changes that git cannot remove: left;" in last.message
    assert "cannot be removed, and stays: left" in stage.log
    assert stage.head() == stage.first


def test_a_repository_that_is_gone_is_fetched_again(stage: ReleaseStage) -> None:
    stage.push({"install.sh": "rm -rf .git", "healthy": "no"})
    last = stage.deploy()
    assert last.outcome == Outcome.BROKEN
    assert "not a git repository. Move it away" in last.message
    (stage.root / "src").rename(stage.root / "away")
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    stage.assert_on(stage.first, lib="1")


def test_files_to_keep_stay_whatever_a_commit_contains(stage: ReleaseStage) -> None:
    photo = stage.root / "src" / "uploads" / "photo"
    photo.parent.mkdir()
    photo.write_text("x")
    good = stage.push({".gitignore": "!/uploads/\n!photo\n", "lib": "2"})
    assert stage.deploy().outcome == Outcome.DEPLOYED
    assert photo.read_text() == "x"
    for name in ("uploads/photo", "uploads"):
        if (stage.work / "uploads").is_dir():
            git(stage.work, "rm", "-qrf", "uploads")
        stage.push({name: "mine", "lib": "3"})
        last = stage.deploy()
        assert last.outcome == Outcome.ROLLED_BACK
        assert "has files to keep: uploads/photo. Remove them from the branch" in last.message
        assert photo.read_text() == "x"
        assert stage.safe == good


def test_env_files_in_the_checkout_stay(stage: ReleaseStage) -> None:
    (stage.root / "deploy.env").write_text("ENV_BACKEND_FILE=src/.env\n")
    file = stage.root / "src" / ".env"
    file.write_text("PASSWORD=hunter2hunter2\n")
    stage.push({"lib": "2"})
    assert stage.deploy().outcome == Outcome.DEPLOYED
    assert file.exists()


@pytest.mark.parametrize("where", [".", "..", "run", "env/src", "src/../venv"])
def test_the_checkout_has_a_directory_to_itself(where: str, tmp_path: Path) -> None:
    """What git does not know in it is removed."""
    stage = ReleaseStage(tmp_path)
    (stage.root / "deploy.env").write_text(f"REPO_ROOT={where}\n")
    with pytest.raises(InvalidSettings, match="are in each other"):
        stage.deploy()
    assert (stage.root / "env" / "backend.env").exists()


def test_a_service_that_came_with_the_bad_commit(stage: ReleaseStage) -> None:
    file, unit = stage.root / "release.toml", "shop-cron.service"
    more = "[services.cron]\ndirectory = 'cron'\ninstall = 'mkdir -p $VIRTUAL_ENV && cp x $VIRTUAL_ENV/lib'\n"
    file.write_text(file.read_text() + more)
    stage.push({"cron/x": "1", "healthy": "no", "lib": "2"})
    last = stage.deploy()
    assert (last.outcome, last.message.partition(":")[0]) == (Outcome.ROLLED_BACK, "health")
    assert set(stage.fake.running()) == {BACKEND, WORKER}
    assert f"stop {unit}" in stage.fake.calls
    good = stage.push({"healthy": "yes", "lib": "3"})
    assert stage.deploy().outcome == Outcome.DEPLOYED
    assert set(stage.fake.running()) == {BACKEND, WORKER, unit}
    assert stage.safe == good


@pytest.mark.thorough
def test_another_branch_whose_name_is_in_the_way(stage: ReleaseStage) -> None:
    file = stage.root / "release.toml"
    text = file.read_text()
    git(stage.remote, "update-ref", "-d", "refs/heads/main")
    git(stage.work, "push", "-q", "origin", "HEAD:main/one")
    file.write_text(f'branch = "main/one"\n{text}')
    assert stage.deploy(force=True).outcome == Outcome.DEPLOYED
    git(stage.remote, "update-ref", "-d", "refs/heads/main/one")
    git(stage.work, "push", "-q", "origin", "HEAD:main")
    file.write_text(text)
    assert stage.deploy(force=True).outcome == Outcome.DEPLOYED


def test_services_of_other_users_can_read_what_is_deployed(stage: ReleaseStage) -> None:
    former = os.umask(0o077)
    try:
        good = stage.push({"lib": "2", "new/file": "x"})
        assert stage.deploy().outcome == Outcome.DEPLOYED
        assert os.umask(0o077) == 0o077, "the umask is the caller's again"
    finally:
        os.umask(former)
    environment = stage.root / "venv" / ".commits" / good / "backend"
    for path in (
        stage.root / "src" / "lib",
        stage.root / "src" / "new" / "file",
        environment / "lib",
    ):
        assert path.stat().st_mode & 0o777 == 0o644, path
        assert path.parent.stat().st_mode & 0o777 == 0o755, path


def test_environments_of_bad_commits_do_not_fill_the_disk(stage: ReleaseStage) -> None:
    bad = [stage.push({"healthy": "no", "lib": str(n)}) for n in (2, 3)]
    for commit in bad:
        git(stage.work, "push", "-qf", "origin", f"{commit}:main")
        assert stage.deploy().outcome == Outcome.ROLLED_BACK
    built = stage.root / "venv" / ".commits"
    assert {each.name for each in built.iterdir()} == {stage.first, bad[-1]}
    # One that is being removed has another name: after a kill, what is left of it is never used.
    (built / f".discarded-{bad[0]}" / "backend").mkdir(parents=True)
    git(stage.work, "push", "-qf", "origin", f"{bad[0]}:main")
    assert stage.deploy().outcome == Outcome.ROLLED_BACK
    assert {each.name for each in built.iterdir()} == {stage.first, bad[0]}


def test_a_safe_commit_that_was_lost_is_not_a_first_deploy(stage: ReleaseStage) -> None:
    (stage.root / "run" / "SAFE_COMMIT").write_text("")
    stage.push({"healthy": "no"})
    with pytest.raises(Damaged, match="Write the commit that the services run"):
        stage.deploy()
    assert set(stage.fake.running()) == {BACKEND, WORKER}


def test_only_the_deploy_user_can_take_the_lock(stage: ReleaseStage) -> None:
    """Whoever can read a file can lock it."""
    lock = stage.root / "run" / "deploy.lock"
    lock.chmod(0o644)
    stage.deploy()
    assert lock.stat().st_mode & 0o777 == 0o600
