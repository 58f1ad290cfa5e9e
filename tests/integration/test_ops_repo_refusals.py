"""What a remote refuses, told as what it is; and what a result may replace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Conflict, Denied, Unavailable
from dispatcher.ops_repo import NewFile, OpsRepo, branch_push
from dispatcher.ops_repo import writer as writers
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import FileSpec, GitRemote

ONE = "vault/actions/one.result.json"
TWO = "vault/actions/two.result.json"
SEEN = "refs/disinto/seen"


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    remote = GitRemote(tmp_path / "remote.git")
    remote.commit({"README": b"x"})
    return remote


@pytest.fixture
def repo(tmp_path: Path, remote: GitRemote) -> Iterator[OpsRepo]:
    repo = OpsRepo(git_dir=tmp_path / "c.git", settings=OpsRepoSettings(remote=str(remote.path)))
    repo.mark_seen(repo.fetch().commit)
    yield repo
    repo.close()


def publish(repo: OpsRepo, path: str = ONE) -> str:
    return repo.publish([NewFile(path=path, data=b"{}")], message="m").commit


# -- the branch is taken, and the memory is not ---------------------------------------------------


def test_a_ref_below_ours_keeps_no_result_back(
    remote: GitRemote, repo: OpsRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.git("update-ref", f"{SEEN}/x", "main")
    assert publish(repo) == remote.head
    assert f"'{SEEN}/x' exists" in repo.seen_trouble()
    remote.git("update-ref", "-d", f"{SEEN}/x")
    repo.mark_seen(remote.head)
    publish(repo, TWO)
    assert remote.git("for-each-ref", "refs/disinto/seen") == "", "not before the pause is over"
    monkeypatch.setattr(branch_push._Companion, "resting", False)
    third = publish(repo, "vault/actions/three.result.json")
    assert third == remote.head
    assert remote.git("rev-parse", SEEN)
    assert repo.seen_trouble() == ""


def test_a_hook_that_refuses_the_memory_is_quoted_and_asked_again(
    remote: GitRemote, repo: OpsRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = remote.hook(
        "update", "case $1 in refs/disinto/*) echo 'branches only' >&2; exit 1;; esac"
    )
    assert publish(repo) == remote.head
    assert "branches only" in repo.seen_trouble()
    hook.unlink()
    monkeypatch.setattr(branch_push._Companion, "resting", False)
    repo.mark_seen(remote.head)
    publish(repo, TWO)
    assert remote.git("rev-parse", SEEN) == remote.head
    assert repo.seen_trouble() == ""


def test_a_lock_on_the_memory_keeps_no_result_back(remote: GitRemote, repo: OpsRepo) -> None:
    lock = remote.path / f"{SEEN}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    assert publish(repo) == remote.head
    assert "seen.lock" in repo.seen_trouble()


# -- the branch is not taken ----------------------------------------------------------------------


def test_a_lock_that_was_left_on_the_branch_is_told_as_such(
    remote: GitRemote, repo: OpsRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "LOCK_TRIES", 3)
    lock = remote.path / "refs/heads/main.lock"
    lock.touch()
    with pytest.raises(Unavailable, match=r"refs/heads/main\.lock") as caught:
        publish(repo)
    assert "remove the file" in str(caught.value)
    lock.unlink()
    assert publish(repo) == remote.head


def test_a_hook_whose_words_look_like_a_race_is_a_refusal(remote: GitRemote, repo: OpsRepo) -> None:
    remote.hook(
        "pre-receive", "echo 'fetch first; cannot lock ref; failed to update ref' >&2; exit 1"
    )
    with pytest.raises(Denied, match="pre-receive hook declined"):
        publish(repo)


def test_a_branch_below_another_is_no_race(remote: GitRemote, repo: OpsRepo) -> None:
    remote.git("update-ref", "refs/heads/ask", "main")
    with pytest.raises(Denied, match="refs/heads/ask' exists"):
        repo.propose([NewFile(path=ONE, data=b"")], branch="ask/one", message="m")
    repo.propose([NewFile(path=ONE, data=b"1")], branch="two", message="m")
    with pytest.raises(Conflict, match="has a branch two already"):
        repo.propose([NewFile(path=ONE, data=b"2")], branch="two", message="m")


# -- what is replaced -----------------------------------------------------------------------------

OTHERS: dict[str, dict[str, FileSpec]] = {
    "file": {ONE: b"other"},
    "symlink": {ONE: (0o120000, b"README")},
    "submodule": {ONE: (0o160000, "1" * 40)},
    "directory": {f"{ONE}/a": b"x", f"{ONE}/b/c": b"y"},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_that_may_replace_does_so_and_says_it(
    remote: GitRemote, repo: OpsRepo, kind: str
) -> None:
    base = remote.commit(OTHERS[kind])
    repo.fetch()
    asked: list[bytes] = []

    def keeps(data: bytes) -> bool:
        asked.append(data)
        return False

    done = repo.publish([NewFile(path=ONE, data=b"{}", keeps=keeps)], message="Result of one")
    assert asked == ([b"other"] if kind == "file" else [])
    assert (done.written, done.skipped) == ((ONE,), ())
    assert [(r.path, r.commit) for r in done.replaced] == [(ONE, base)]
    assert remote.files("vault") == {ONE: b"{}"}
    body = remote.git("log", "-1", "--format=%B", "main")
    assert body.startswith("Result of one\n\nIn the place of")
    assert done.replaced[0].oid in body
    remote.git("fsck", "--strict")


def test_what_is_to_be_kept_and_what_is_the_same_stays(remote: GitRemote, repo: OpsRepo) -> None:
    head = remote.commit({ONE: b"other", TWO: b"same"})
    repo.fetch()
    files = [
        NewFile(path=ONE, data=b"{}", keeps=lambda _data: True),
        NewFile(path=TWO, data=b"same", keeps=lambda _data: False),
    ]
    done = repo.publish(files, message="m")
    assert (done.commit, done.written, done.replaced) == (head, (), ())
    assert set(done.skipped) == {ONE, TWO}


def test_a_large_file_is_replaced_unread(remote: GitRemote, repo: OpsRepo) -> None:
    remote.commit({ONE: b"x" * (1024 * 1024 + 1)})
    repo.fetch()
    file = NewFile(path=ONE, data=b"{}", keeps=lambda _data: pytest.fail("read"))
    assert repo.publish([file], message="m").written == (ONE,)


def test_one_message_claims_no_more_changes_of_the_inventory_than_ours_may(
    remote: GitRemote, repo: OpsRepo
) -> None:
    """A million of them would be searched for at each look."""
    claims = [f"Inventory: r{number} updates machine/web" for number in range(1_200)]
    remote.commit({"x": b"1"}, message="Flood\n\n" + "\n".join(claims))
    remote.commit({"x": b"2"}, message="Result of own\n\nInventory: own creates machine/web")
    found = repo.inventory_changes(repo.fetch().commit)["machine", "web"]
    assert len(found) == 1_001
    assert "own" in found
