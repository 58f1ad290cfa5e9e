"""What a commit of ours costs: no process of git's but the push. It is what git itself would have made."""

from __future__ import annotations

import errno
import random
import subprocess
from pathlib import Path

import pytest

from dispatcher.errors import Unavailable
from dispatcher.ops_repo import Entry, NewFile, OpsRepo, by_trees, loose_objects, reader, ref_files
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.committing import Committer
from dispatcher.ops_repo.direct_push import DirectPush
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.fast_import import added, removed
from tests.servers.git_remote import GitRemote
from tests.support.clone import at_head as repo
from tests.support.clone import commands

__all__ = ["commands", "repo"]

pytestmark = pytest.mark.needs("git")

ACTION = "vault/actions/x.toml"
RESULT = NewFile(path="vault/actions/x.result.json", data=b"{}\n")
WHO = "Disinto <disinto@example.org>"


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n", ACTION: b"x"})
    return made


@pytest.mark.parametrize("directly", [True, False])
def test_a_result_is_committed_and_pushed_by_one_process(
    repo: OpsRepo,
    remote: GitRemote,
    commands: list[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    directly: bool,
) -> None:
    if not directly:
        monkeypatch.setattr(DirectPush, "usable", False)
    published = repo.publish([RESULT], message="Result of x")
    ours = [] if directly else ["push"]
    assert commands == ours
    assert published.commit == remote.head
    assert remote.git("show", f"main:{RESULT.path}") == "{}"
    assert remote.git("rev-parse", "refs/disinto/seen") == remote.head
    head = repo.local_head()
    assert head is not None
    assert head.commit == published.commit
    assert commands == ours, "that a commit descends from its parent is read, not searched for"


def test_that_a_commit_descends_from_one_near_by_is_read(
    repo: OpsRepo, remote: GitRemote, commands: list[str]
) -> None:
    """Up to some commits, merges included. What lies further, or does not descend, git itself finds."""
    first = remote.head
    commits = [remote.commit({f"vault/actions/y{n}.toml": b"y"}) for n in range(reader._NEAR + 1)]
    side = remote.git("commit-tree", f"{first}^{{tree}}", "-p", first, "-m", "side")
    merge = remote.git(
        "commit-tree", f"{first}^{{tree}}", "-p", commits[0], "-p", side, "-m", "merge"
    )
    remote.git("update-ref", "refs/heads/merge", merge)
    repo.fetch()
    repo.fetch_ref("refs/heads/merge")
    commands.clear()
    assert repo.is_ancestor(commits[0], commits[reader._NEAR])
    assert repo.is_ancestor(side, merge)
    assert repo.is_ancestor(first, merge)
    assert not commands
    assert repo.is_ancestor(first, commits[reader._NEAR])
    assert not repo.is_ancestor(commits[reader._NEAR], first)
    assert not repo.is_ancestor(side, commits[reader._NEAR])
    assert commands == ["merge-base"] * 3


def test_a_commit_with_a_long_message_is_left_to_git(
    repo: OpsRepo, remote: GitRemote, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = remote.head
    commit = remote.commit({"vault/actions/y.toml": b"y"})
    repo.fetch()
    commands.clear()
    monkeypatch.setattr(reader, "_SMALL_COMMIT", 100)
    assert repo.is_ancestor(base, commit)
    assert commands == ["merge-base"]


def test_a_fetch_is_one_process(repo: OpsRepo, remote: GitRemote, commands: list[str]) -> None:
    remote.commit({"vault/actions/y.toml": b"y"})
    assert not repo.fetch().rewritten
    assert commands == ["fetch-pack"]


def test_entries_are_looked_up_without_a_process_as_git_finds_them(
    repo: OpsRepo, remote: GitRemote, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = "/".join(["d"] * 1_500)
    remote.commit({f"{deep}/f": b"deep", "vault/actions.x": b"file"})
    commit = repo.fetch().commit
    asked = [
        ACTION, "vault", "vault/actions", "vault/action", "vault/actions/none", "README.md/x",
        "README.md", f"{deep}/f", deep, "vault/actions.x", "/".join(["e"] * 1_500),
    ]  # fmt: skip
    commands.clear()
    ours = repo.entries_at(commit, asked)
    inside = {path: repo.directory(commit, path) for path in asked}
    assert commands == []
    monkeypatch.setattr(reader, "_SMALL_TREE", 0)
    by_git: dict[str, Entry] = {}
    for path in asked:  # asked for at once, git leaves out directories on the way to others
        by_git |= repo.entries_at(commit, [path])
    assert by_git == ours
    assert {path: repo.directory(commit, path) for path in asked} == inside
    assert commands == ["ls-tree"] * 2 * len(asked)
    assert ours.keys() == {
        ACTION, "vault", "vault/actions", "README.md", f"{deep}/f", deep, "vault/actions.x",
    }  # fmt: skip


def test_refs_are_synced_and_objects_are_not(
    repo: OpsRepo, remote: GitRemote, tmp_path: Path
) -> None:
    """The clone can be rebuilt, but for what one of its refs says."""
    clone: Clone = repo._clone
    new = remote.commit({"vault/actions/y.toml": b"y"})

    def synced(name: str, *args: str, **config: str) -> bool:
        trace = tmp_path / name
        environment = clone.git.environment(config) | {"GIT_TRACE2_EVENT": str(trace)}
        subprocess.run(
            ["git", f"--git-dir={clone.path}", *args],
            env=environment,
            check=True,
            capture_output=True,
        )
        return "hardware-flush" in trace.read_text()

    fetched = synced(
        "fetch",
        "fetch-pack",
        "-q",
        str(remote.path),
        "refs/heads/main",
        **{"fetch.unpackLimit": "1000"},
    )
    assert clone.objects.has_commit(new)
    assert not fetched
    assert synced("ref", "update-ref", "refs/disinto/seen", new)


def test_nothing_is_left_of_what_was_pushed(
    repo: OpsRepo, tmp_path: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectPush, "usable", False)  # it needs no refs
    repo.publish([RESULT], message="Result of x")
    assert commands == ["push"]
    assert not (tmp_path / "clone.git/refs/disinto/push").exists() or not list(
        (tmp_path / "clone.git/refs/disinto/push").rglob("*")
    )


def test_a_directory_too_large_for_memory_is_left_to_git(
    repo: OpsRepo, remote: GitRemote, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_trees, "READ_LIMIT", 10)
    monkeypatch.setattr(reader, "_SMALL_TREE", 10)
    repo.publish([RESULT], message="Result of x")
    assert commands == ["ls-tree", "fast-import", "push"]
    assert remote.git("show", f"main:{RESULT.path}") == "{}"


def test_a_full_disk_is_named(
    repo: OpsRepo, remote: GitRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = remote.head
    with monkeypatch.context() as patched:
        patched.setattr(loose_objects, "_place", full)
        with pytest.raises(Unavailable, match="No space left on device"):
            repo.publish([RESULT], message="Result of x")
    assert remote.head == before
    repo.publish([RESULT], message="Result of x")
    assert remote.head != before


NAMES = ("a", "a.b", "a-b", "a0", "ab", "b", "\xe4", "a\tb", "A", "z" * 300)


def made_up(dice: random.Random) -> dict[str, bytes]:
    """Files at random places; names that sort differently as files and as directories."""
    files: dict[str, bytes] = {}
    for _ in range(dice.randrange(1, 12)):
        path = "/".join(dice.choice(NAMES) for _ in range(dice.randrange(1, 4)))
        inside = any(
            other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in files
        )
        if not inside:
            files[path] = dice.randbytes(dice.randrange(40))
    return files


@pytest.mark.parametrize("seed", range(6))
def test_the_tree_is_the_one_that_git_makes(
    repo: OpsRepo, remote: GitRemote, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    remote.commit(made_up(dice))
    base = repo.fetch().commit
    clone: Clone = repo._clone
    for _ in range(5):
        there = remote.git("ls-tree", "-r", "-z", "--name-only", base).split("\0")
        new = [NewFile(path=path, data=data) for path, data in made_up(dice).items()]
        gone = dice.sample(there[:-1], k=min(2, len(there) - 2))
        with clone.lock.held() as fds:
            by_git = Committer(clone).commit(
                base, [*map(removed, gone), *added(new)], "m\n", fds, dict, by_git=True
            )
            ours = by_trees.commit(
                clone,
                base,
                {**dict.fromkeys(gone), **by_trees.stored(clone, new, like=base)},
                message="m\n",
                who=WHO,
                limit=None,
            )
        assert clone.git.run(clone.path, "rev-parse", f"{ours}^{{tree}}").line == (
            clone.git.run(clone.path, "rev-parse", f"{by_git}^{{tree}}").line
        )
        clone.git.run(clone.path, "fsck", "--strict", "--no-dangling", ours)


def test_a_line_that_looks_like_a_parent_is_none(repo: OpsRepo, remote: GitRemote) -> None:
    """Otherwise whoever pushes could pass a rewritten branch off as one that went on."""
    dropped = remote.head
    person = "Ann <ann@example.org> 1700000000 +0000"
    tree = remote.git("rev-parse", "main^{tree}")
    text = f"tree {tree}\nauthor {person}\ncommitter {person}\nparent {dropped}\n\nno parent\n"
    forged = remote.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=text.encode())
    remote.git("update-ref", "refs/heads/main", forged)
    head = repo.fetch()
    assert head.commit == forged
    assert head.rewritten
    assert not repo.is_ancestor(dropped, forged)


def test_a_ref_is_written_as_git_does(repo: OpsRepo, remote: GitRemote, tmp_path: Path) -> None:
    git_dir, name = tmp_path / "clone.git", "refs/disinto/push/1/plain/heads/main"
    ref_files.put(git_dir, name, remote.head)
    clone: Clone = repo._clone
    assert clone.git.run(git_dir, "rev-parse", name).line == remote.head
    (git_dir / f"{name}.lock").touch()
    with pytest.raises(GitFailed) as raised:
        ref_files.put(git_dir, name, remote.head)
    assert raised.value.stale_lock
    (git_dir / f"{name}.lock").unlink()
    ref_files.remove(git_dir, name, below="refs/disinto/push/")
    assert list((git_dir / "refs/disinto/push").iterdir()) == []


def test_a_ref_is_moved_from_where_it_is_and_to_what_is_there(repo: OpsRepo) -> None:
    clone: Clone = repo._clone
    head = clone.refs.value("refs/disinto/head")
    assert head is not None
    assert not clone.refs.move("refs/disinto/head", head, old="0" * 40)
    with pytest.raises(GitFailed) as raised:
        clone.refs.move("refs/disinto/head", "1" * 40, old=head)
    assert raised.value.clone_broken
    assert clone.refs.value("refs/disinto/head") == head
