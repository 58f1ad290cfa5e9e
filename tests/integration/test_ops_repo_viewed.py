"""Every head that decisions are made on is compared with the one before, on real git."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from dispatcher.errors import Conflict, Misconfigured
from dispatcher.ops_repo import Approach, OpsRepo, rewrites
from dispatcher.ops_repo.rewrites import FOLDER
from dispatcher.ops_repo.viewed import FILE
from tests.servers.git_remote import GitRemote
from tests.support.clone import opened, remote, repo

__all__ = ["remote", "repo"]

pytestmark = pytest.mark.needs("git")

X = "vault/actions/x.toml"
HOUR_S = 3600


def lost_clone(root: Path, remote: GitRemote, repo: OpsRepo) -> OpsRepo:
    repo.close()
    shutil.rmtree(root / "state" / "ops.git")
    return opened(root, remote)


def test_heads_in_a_row_are_each_compared_with_the_one_before(
    repo: OpsRepo, remote: GitRemote
) -> None:
    approval = remote.commit({X: b"one"})
    assert repo.approach(repo.fetch().commit, ()) == Approach()
    withdrawal = remote.commit(remove=[X])
    assert repo.approach(repo.fetch().commit, ()) == Approach()
    remote.point(approval)
    head = repo.fetch().commit
    assert repo.withdrawn(head, X) == {approval, withdrawal}  # for who only looks on
    assert repo.approach(head, ()) == Approach(dropped=(withdrawal,))
    assert repo.withdrawn(head, X) == {approval, withdrawal}
    assert repo.approach(head, ()) == Approach()
    assert repo.withdrawn(head, X) == {approval, withdrawal}
    assert repo.forgotten(approval) == ""
    assert repo.losses() == ()


def test_the_name_of_the_directory_is_made_durable_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again if somebody removed it."""
    synced: list[str] = []
    monkeypatch.setattr(rewrites, "sync_directory", lambda path: synced.append(path.name))
    folder = tmp_path / "state" / FOLDER

    def synced_by(text: str) -> list[str]:
        synced.clear()
        rewrites.write(folder / FILE, text)
        assert (folder / FILE).read_text() == text
        return synced

    assert synced_by("1") == [FOLDER, "state"]
    assert synced_by("2") == [FOLDER]
    shutil.rmtree(folder)
    assert synced_by("3") == [FOLDER, "state"]


def test_what_others_remember_is_compared_as_well(repo: OpsRepo, remote: GitRemote) -> None:
    approval = remote.commit({X: b"one"})
    withdrawal = remote.commit(remove=[X])
    repo.fetch()
    remote.point(approval)
    head = repo.fetch().commit
    assert repo.approach(head, (withdrawal,)) == Approach(dropped=(withdrawal,))
    assert repo.withdrawn(head, X) == {approval, withdrawal}


def test_of_a_head_that_is_lost_all_earlier_approvals_are_doubtful(
    tmp_path: Path, repo: OpsRepo, remote: GitRemote
) -> None:
    now = int(time.time())
    approval = remote.commit({X: b"one"}, date=now - HOUR_S)
    ahead = remote.commit({X: b"two"}, date=now + HOUR_S)  # by a clock that was wrong
    withdrawal = remote.commit(remove=[X])
    repo.approach(repo.fetch().commit, ())
    remote.point(ahead)
    again = lost_clone(tmp_path, remote, repo)
    head = again.fetch().commit
    assert "may have been withdrawn" in again.forgotten(approval)  # for who only looks on
    assert again.losses() == ()
    assert again.approach(head, ()) == Approach(lost=(withdrawal,))
    assert [loss.head for loss in again.losses()] == [ahead]
    assert "may have been withdrawn" in again.forgotten(approval)
    assert "may have been withdrawn" in again.forgotten(ahead)
    assert "may have been withdrawn" in again.forgotten(ahead, at=float(now - HOUR_S))
    late = remote.commit({X: b"three"}, date=now - HOUR_S)
    newer = remote.commit({X: b"four"}, date=now + HOUR_S)
    assert again.approach(again.fetch().commit, ()) == Approach()
    assert "may have been withdrawn" in again.forgotten(late)
    assert again.forgotten(newer) == ""
    assert "may have been withdrawn" in again.forgotten(newer, at=float(now - HOUR_S))
    again.close()


def test_a_lost_clone_costs_nothing_while_the_branch_goes_on(
    tmp_path: Path, repo: OpsRepo, remote: GitRemote
) -> None:
    approval = remote.commit({X: b"one"})
    repo.approach(repo.fetch().commit, ())
    remote.commit({"README.md": b"other\n"})
    again = lost_clone(tmp_path, remote, repo)
    assert again.approach(again.fetch().commit, (approval,)) == Approach()
    assert again.forgotten(approval) == ""
    again.close()


def test_a_loss_is_written_down_where_nobody_knows_which_head_it_was(
    repo: OpsRepo, remote: GitRemote
) -> None:
    approval = remote.commit({X: b"one"})
    repo.approach(repo.fetch().commit, (), unknown=True)
    assert "may have been withdrawn" in repo.forgotten(approval)


def test_a_head_that_is_not_there_is_not_written_down(repo: OpsRepo, remote: GitRemote) -> None:
    repo.fetch()
    with pytest.raises(Conflict):
        repo.approach("0" * 39 + "1", ())
    assert repo.approach(remote.head, ()) == Approach()


@pytest.mark.parametrize("name", [FILE, "1.lost"])
def test_a_damaged_record_lets_nothing_be_approved(
    name: str, tmp_path: Path, repo: OpsRepo, remote: GitRemote
) -> None:
    head = repo.fetch().commit
    repo.approach(head, ())
    (tmp_path / "state" / FOLDER / name).write_text("?")
    with pytest.raises(Misconfigured, match="which approvals may have been withdrawn"):
        repo.forgotten(head)
