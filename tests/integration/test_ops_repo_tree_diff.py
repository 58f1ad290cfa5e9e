"""Differences between trees, beside git's own answers."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.ops_repo import OpsRepo, tree_diff
from dispatcher.ops_repo.clone import Clone
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

pytestmark = pytest.mark.needs("git")

NAMES = ("a", "a.b", "a0", "b", "b-", "z")
KINDS = ("none", "file", "other file", "program", "link", "directory", "other directory")


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "ops.git")
    made.commit({"README": b"x"})
    return made


@pytest.fixture
def clone(remote: GitRemote, tmp_path: Path) -> Iterator[Clone]:
    repo = OpsRepo(
        git_dir=tmp_path / "clone.git", settings=OpsRepoSettings(remote=str(remote.path))
    )
    repo.fetch()
    yield repo._clone
    repo.close()


def tree(remote: GitRemote, kinds: dict[str, str]) -> str:
    """A tree with entries of these kinds."""
    blobs = [remote.git("hash-object", "-w", "--stdin", stdin=data) for data in (b"1", b"2")]
    below = [remote.git("mktree", stdin=f"100644 blob {blob}\tf\n".encode()) for blob in blobs]
    facts = {
        "file": f"100644 blob {blobs[0]}",
        "other file": f"100644 blob {blobs[1]}",
        "program": f"100755 blob {blobs[0]}",
        "link": f"120000 blob {blobs[0]}",
        "directory": f"040000 tree {below[0]}",
        "other directory": f"040000 tree {below[1]}",
    }
    lines = [f"{facts[kind]}\t{name}\n" for name, kind in kinds.items() if kind != "none"]
    return remote.git("mktree", stdin="".join(lines).encode())


def test_differences_are_those_that_git_finds(
    remote: GitRemote, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = random.Random(1)
    trees = [tree(remote, {name: choose.choice(KINDS) for name in NAMES}) for _ in range(24)]
    trees.append(tree_diff.empty_tree("0" * 40))
    for each in trees:  # as if they had been fetched
        remote.git("update-ref", f"refs/trees/{each}", each)
    shutil.copytree(remote.path / "objects", clone.path / "objects", dirs_exist_ok=True)
    pairs = [(choose.choice(trees), choose.choice(trees)) for _ in range(150)]
    by_git = tree_diff._by_git(clone, [pair for pair in dict.fromkeys(pairs) if len(set(pair)) > 1])

    def no_process(*_: object, **__: object) -> None:
        raise AssertionError("small trees are compared without a process")

    monkeypatch.setattr(clone.git, "run", no_process)
    assert tree_diff.compared(clone, pairs) == by_git


def test_large_trees_are_compared_by_git(
    remote: GitRemote, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = [tree(remote, {f"{number:05}": "file", "x": "file"}) for number in range(2)]
    shutil.copytree(remote.path / "objects", clone.path / "objects", dirs_exist_ok=True)
    pair = (trees[0], trees[1])
    expected = tree_diff.compared(clone, [pair])
    monkeypatch.setattr(tree_diff, "READ_BYTES", 10)
    asked: list[object] = []
    by_git = tree_diff._by_git
    monkeypatch.setattr(tree_diff, "_by_git", lambda *a: asked.append(a) or by_git(*a))
    assert tree_diff.compared(clone, [pair]) == expected
    assert len(asked) == 1


def test_a_commit_is_not_in_the_history_of_its_parent(
    remote: GitRemote, clone: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = remote.head
    new = remote.commit({"README": b"y"})
    repo = OpsRepo(git_dir=clone.path, settings=OpsRepoSettings(remote=str(remote.path)))
    repo.fetch()
    monkeypatch.setattr(
        repo._clone.git, "run", lambda *_, **__: pytest.fail("no process is needed")
    )
    assert repo.is_ancestor(old, new)
    assert not repo.is_ancestor(new, old)
    repo.close()
