"""The memory of which ids ran: whichever copy is lost, damaged or lied about, none runs twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.servers.git_remote import GitRemote
from tests.support.stage import Stage, action, path
from tests.support.thorough import some

RESULT = "vault/actions/old.result.json"


@pytest.fixture
def remote(stage: Stage) -> GitRemote:
    return GitRemote(stage.scene.remote)


@pytest.fixture
def clone(stage: Stage) -> Path:
    return stage.scene.open_settings().state_dir / "ops.git"


def ran_once(stage: Stage, remote: GitRemote) -> tuple[str, bytes]:
    """An action that ran and has its result; the head before, and the result."""
    before = stage.scene.merge({path("old"): action("old")}, "Add old")
    stage.once()
    stage.result("old")
    return before, remote.files("vault")[RESULT]


def goes_on(stage: Stage, remote: GitRemote) -> None:
    """What is new runs as ever, and nothing ran twice."""
    remote.commit({path("new"): action("new").encode()})
    stage.once()
    assert stage.result("new")["verdict"] == "succeeded"
    assert sorted(s.key.action_id for s in stage.scheduler.submitted) == ["new", "old"]


DAMAGES = ["empty", "garbage", "absent", "missing commit", "blob", "tree", "tag", "directory"]


def damage(clone: Path, remote: GitRemote, how: str) -> None:
    seen = clone / "refs/disinto/seen"
    text = {
        "empty": "",
        "garbage": "\x00\xffnonsense",
        "missing commit": "1" * 40 + "\n",
        "blob": remote.git("rev-parse", f"main:{path('old')}") + "\n",
        "tree": remote.git("rev-parse", "main:vault") + "\n",
    }
    if how == "tag":
        made = remote.git(
            "-c", "user.name=a", "-c", "user.email=a@b", "tag", "-m", "t", "t", "main"
        )
        assert made == ""
        tag = remote.git("rev-parse", "refs/tags/t")
        shutil.copytree(remote.path / "objects", clone / "objects", dirs_exist_ok=True)
        seen.write_text(tag + "\n")
    elif how == "absent":
        seen.unlink()
    elif how == "directory":
        seen.unlink()
        (seen / "x").mkdir(parents=True)
    else:
        seen.write_bytes(text[how].encode("latin-1"))


@pytest.mark.parametrize("how", some(DAMAGES, always=["garbage", "missing commit", "directory"]))
@pytest.mark.parametrize("deleted", some([True, False], always=[True]))
def test_a_damaged_ref_in_the_clone_is_made_good_by_the_ledger(
    stage: Stage, remote: GitRemote, clone: Path, how: str, *, deleted: bool
) -> None:
    _, genuine = ran_once(stage, remote)
    damage(clone, remote, how)
    if deleted:
        remote.commit(remove=[RESULT])
    stage.once()
    assert remote.files("vault")[RESULT] == genuine
    goes_on(stage, remote)
    assert (clone / "refs/disinto/seen").read_text().strip() == remote.head, "it is mended"


def test_a_lost_clone_and_a_deleted_ref_while_the_ledger_survived(
    stage: Stage, remote: GitRemote, clone: Path
) -> None:
    _, genuine = ran_once(stage, remote)
    remote.commit(remove=[RESULT])
    remote.git("update-ref", "-d", "refs/disinto/seen")
    shutil.rmtree(clone)
    stage.once()
    assert remote.files("vault")[RESULT] == genuine
    goes_on(stage, remote)


def test_nobody_can_tell_what_ran_when_all_that_is_left_names_a_commit_that_is_gone(
    stage: Stage, remote: GitRemote, clone: Path
) -> None:
    """Clone lost, the remote's ref deleted, and the history rewritten; the ledger is all there is."""
    before, _ = ran_once(stage, remote)
    remote.point(before)
    remote.git("update-ref", "-d", "refs/disinto/seen")
    remote.git("gc", "-q", "--prune=now")
    shutil.rmtree(clone)
    stage.once()
    result = stage.result("old")
    assert result["verdict"] == "invalid"
    assert "it is unknown" in str(result["error"])
    goes_on(stage, remote)


def test_all_memory_lost_still_finds_what_the_history_deleted(
    stage: Stage, remote: GitRemote, clone: Path
) -> None:
    _, genuine = ran_once(stage, remote)
    remote.commit(remove=[RESULT])
    remote.git("update-ref", "-d", "refs/disinto/seen")
    shutil.rmtree(clone)
    for file in clone.parent.glob("ledger.db*"):
        file.unlink()
    (clone.parent / "leader.lock").unlink()
    remote.git("update-ref", "-d", "refs/disinto/lead")  # as ``disinto takeover`` would
    stage.components = stage._components()
    stage.once()
    assert remote.files("vault")[RESULT] == genuine
    goes_on(stage, remote)


@pytest.mark.parametrize(
    "kind",
    some(
        ["blob", "tree", "tag", "forward", "backward", "foreign root"],
        always=["tag", "forward", "foreign root"],
    ),
)
@pytest.mark.parametrize("rewritten", some([True, False], always=[True]))
def test_whatever_the_remotes_ref_names_does_no_harm(
    stage: Stage, remote: GitRemote, clone: Path, kind: str, *, rewritten: bool
) -> None:
    before, _genuine = ran_once(stage, remote)
    if rewritten:
        remote.point(before)
    else:
        remote.commit(remove=[RESULT])
    if kind == "tag":
        remote.git("-c", "user.name=a", "-c", "user.email=a@b", "tag", "-m", "t", "t", "main")
    names = {
        "blob": f"main:{path('old')}",
        "tree": "main:vault",
        "tag": "t",
        "forward": "main",
        "backward": before,
    }
    if kind == "foreign root":
        remote.commit({RESULT: b"{}"}, parents=[], branch="root")
        names[kind] = "root"
    remote.git("update-ref", "refs/disinto/seen", remote.git("rev-parse", names[kind]))
    shutil.rmtree(clone)
    stage.once()
    assert stage.result("old")["verdict"] in ("succeeded", "invalid")
    goes_on(stage, remote)


def test_a_first_start_on_a_repository_with_waiting_actions_runs_them(
    stage: Stage, remote: GitRemote
) -> None:
    remote.commit({path("old"): action("old").encode(), path("other"): action("other").encode()})
    stage.once()
    assert sorted(s.key.action_id for s in stage.scheduler.submitted) == ["old", "other"]


# -- the remote refuses the memory ---------------------------------------------------------------


def test_a_ref_beside_ours_blocks_no_result(stage: Stage, remote: GitRemote, clone: Path) -> None:
    remote.git("update-ref", "refs/disinto/seen/x", "main")
    stage.scheduler.ends_at_once = True
    stage.scene.merge({path("old"): action("old")}, "Add old")
    stage.start()
    assert stage.result("old")["verdict"] == "succeeded"
    stage.at_rest()
    stage.scene.merge({path("new"): action("new")}, "Add new")
    assert stage.result("new")["verdict"] == "succeeded"
    assert stage.served is not None
    warnings = " ".join(stage.served.warnings())
    assert "refs/disinto/seen/x" in warnings, "the remote's own words"
