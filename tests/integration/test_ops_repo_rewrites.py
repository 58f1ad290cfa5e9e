"""What a rewritten history takes back, on real git."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.errors import Misconfigured
from dispatcher.ops_repo import OpsRepo
from dispatcher.ops_repo.rewrites import FOLDER
from tests.servers.git_remote import GitRemote
from tests.support.clone import opened, remote, repo

__all__ = ["remote", "repo"]

pytestmark = pytest.mark.needs("git")

X, Y, FORMULA = "vault/actions/x.toml", "vault/actions/y.toml", "formulas/f.sh"
SCHEDULE, SCHEMA = "vault/schedules/s.toml", "formulas/f.schema.json"


def noticed(repo: OpsRepo) -> str:
    head = repo.fetch().commit
    repo.mark_seen(head)
    return head


def test_without_a_rewrite_nothing_is_taken_back(repo: OpsRepo, remote: GitRemote) -> None:
    remote.commit({X: b"one"})
    noticed(repo)
    remote.commit({X: b"two", FORMULA: b"f"})
    head = noticed(repo)
    assert repo.withdrawn(head, X) == frozenset()
    assert repo.withdrawn(head, FORMULA) == frozenset()


def test_all_commits_of_a_file_that_the_dropped_ones_touched(
    tmp_path: Path, repo: OpsRepo, remote: GitRemote
) -> None:
    first = remote.commit({X: b"one", Y: b"one", FORMULA: b"f"})
    second = remote.commit({X: b"two"})
    dropped = remote.commit({FORMULA: b"g"}, remove=[X])
    noticed(repo)
    remote.point(second)
    for look in ("before", "after"):  # the rewrite is recorded
        head = repo.fetch().commit if look == "before" else noticed(repo)
        assert repo.withdrawn(head, X) == {first, second, dropped}
        assert repo.withdrawn(head, FORMULA) == {first, dropped}
        assert repo.withdrawn(head, Y) == frozenset()
    later = remote.commit({X: b"three"})
    noticed(repo)
    other = opened(tmp_path, remote)  # another process, such as ``disinto plan``
    assert other.withdrawn(later, X) == {first, second, dropped}
    other.close()


@pytest.mark.parametrize("dropped", ["change", "deletion"])
def test_a_schedule_like_every_other_file_that_is_approved(
    repo: OpsRepo, remote: GitRemote, dropped: str
) -> None:
    first = remote.commit({SCHEDULE: b"one"})
    later = remote.commit(
        {SCHEDULE: b"two"} if dropped == "change" else {}, remove=[SCHEDULE][dropped == "change" :]
    )
    noticed(repo)
    remote.point(first)
    assert repo.withdrawn(noticed(repo), SCHEDULE) == {first, later}


def test_a_dropped_schema_takes_back_its_formula(repo: OpsRepo, remote: GitRemote) -> None:
    first = remote.commit({FORMULA: b"f", "formulas/g.sh": b"g"})
    later = remote.commit({SCHEMA: b"{}"})
    noticed(repo)
    remote.point(first)
    head = noticed(repo)
    assert repo.withdrawn(head, SCHEMA) == {later}
    assert repo.withdrawn(head, FORMULA) == {first}  # which ran with the schema alone
    assert repo.withdrawn(head, "formulas/g.sh") == frozenset()


def test_a_file_of_which_no_rewrite_is_on_record_cannot_be_asked_about(
    repo: OpsRepo, remote: GitRemote
) -> None:
    head = remote.commit({"vault/wishes/w.toml": b"w"})
    noticed(repo)
    with pytest.raises(ValueError, match="approvals of vault/wishes"):
        repo.withdrawn(head, "vault/wishes/w.toml")


def test_merges_and_odd_names_are_seen(repo: OpsRepo, remote: GitRemote) -> None:
    base = remote.head
    odd = "formulas/a b\n\u00e4.sh"
    side = remote.commit({X: b"one", odd: b"f"}, branch="side", parents=[base])
    merge = remote.commit({X: b"one", odd: b"f"}, parents=[base, side])
    noticed(repo)
    remote.point(base)
    head = noticed(repo)
    assert repo.withdrawn(head, X) == {side, merge}
    assert repo.withdrawn(head, odd) == {side, merge}


def test_it_is_remembered_without_the_clone(
    tmp_path: Path, repo: OpsRepo, remote: GitRemote
) -> None:
    base = remote.head
    approval = remote.commit({X: b"one"})
    noticed(repo)
    remote.point(base)
    noticed(repo)
    repo.close()
    (tmp_path / "state" / "ops.git").rename(tmp_path / "lost")
    again = opened(tmp_path, remote)
    remote.point(approval)
    assert approval in again.withdrawn(again.fetch().commit, X)
    again.close()


def test_a_record_that_cannot_be_read_lets_nothing_be_approved(
    tmp_path: Path, repo: OpsRepo, remote: GitRemote
) -> None:
    head = noticed(repo)
    folder = tmp_path / "state" / FOLDER
    folder.mkdir()
    (folder / "a-b.json").write_text("[1]")
    with pytest.raises(Misconfigured, match="which approvals a rewritten history withdrew"):
        repo.withdrawn(head, X)
    (folder / "a-b.json").unlink()
    folder.rmdir()
    folder.write_text("not a directory")
    with pytest.raises(Misconfigured, match="which approvals were withdrawn"):
        repo.withdrawn(head, X)
