"""The order in which actions arrive, over whatever a push may hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

A, B, C = (f"vault/actions/{name}.toml" for name in "abc")


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({A: b"1", B: b"1"})
    return made


@pytest.fixture
def repo(tmp_path: Path, remote: GitRemote) -> Iterator[OpsRepo]:
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=20)
    repo = OpsRepo(git_dir=tmp_path / "state" / "clone.git", settings=settings)
    yield repo
    repo.close()


@pytest.fixture
def tree(repo: OpsRepo) -> Tree:
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    return tree


def test_two_waiting_actions_edited_in_one_push(
    remote: GitRemote, repo: OpsRepo, tree: Tree
) -> None:
    """A range of commits that changes files and adds none: git's log of arrivals is empty."""
    remote.commit({A: b"2", B: b"2"})
    changes = repo.advance(tree, repo.fetch().commit)
    assert changes.changed == {"a", "b"}
    assert changes.opened == ()


def test_edited_and_new_actions_in_one_push(remote: GitRemote, repo: OpsRepo, tree: Tree) -> None:
    remote.commit({B: b"2"})
    remote.commit({C: b"1"})
    remote.commit({A: b"2"})
    changes = repo.advance(tree, repo.fetch().commit)
    assert changes.changed == {"a", "b"}
    assert changes.opened == ("c",)


def test_actions_that_became_files_of_another_kind(
    remote: GitRemote, repo: OpsRepo, tree: Tree
) -> None:
    """A change of type is no addition either."""
    remote.commit({A: (0o120000, b"/etc/passwd"), B: (0o120000, b"/etc/passwd")})
    assert repo.advance(tree, repo.fetch().commit).changed == {"a", "b"}


def test_actions_that_come_with_a_rewritten_history(
    remote: GitRemote, repo: OpsRepo, tree: Tree
) -> None:
    """The new head is no descendant of the old one, and adds nothing that the old one lacked."""
    remote.commit({A: b"2", B: b"2"}, parents=[])
    assert repo.advance(tree, repo.fetch().commit).changed == {"a", "b"}
