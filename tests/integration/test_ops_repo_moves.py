"""Moves of many files in one commit, in which whole folders are written anew."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.ops_repo import Move, NewFile, OpsRepo
from dispatcher.ops_repo.committing import FEW_CHANGES
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

ACTIONS, MONTH = "vault/actions", "vault/done/2025-03"
ODD = ['a "quoted" one', "tab\there", "ümlaut", "line\nbreak", "-dash", "a b"]


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    return GitRemote(tmp_path / "remote.git")


@pytest.fixture
def repo(tmp_path: Path, remote: GitRemote) -> Iterator[OpsRepo]:
    settings = OpsRepoSettings(remote=str(remote.path))
    made = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    yield made
    made.close()


def moved(names: list[str]) -> list[Move]:
    return [Move(source=f"{ACTIONS}/{n}", target=f"{MONTH}/{n}") for n in names]


@pytest.mark.parametrize("count", [FEW_CHANGES, FEW_CHANGES + 1, 300])
def test_many_files_move_and_all_else_stays(count: int, remote: GitRemote, repo: OpsRepo) -> None:
    names = [*ODD, *(f"n{number:04}.toml" for number in range(count - len(ODD)))]
    stays = {
        "README.md": b"ops",
        f"{ACTIONS}/stays.toml": b"stays",
        f"{ACTIONS}/deeper/x": b"deeper",
        f"{MONTH}/before.toml": b"before",
        f"{MONTH}/deeper/y": b"deeper too",
        "vault/done/2025-02/other.toml": b"other",
    }
    remote.commit({**stays, **{f"{ACTIONS}/{n}": n.encode() for n in names}})
    before = repo.fetch().commit
    new = NewFile(path=f"{ACTIONS}/new.result.json", data=b"new")

    done = repo.publish([new], message="Archive", moves=moved(names))

    assert len(done.written) == count + 1
    assert remote.files("") == {
        **stays,
        new.path: b"new",
        **{f"{MONTH}/{n}": n.encode() for n in names},
    }
    assert repo.commit(done.commit).parents == (before,)
    subprocess.run(["git", "fsck", "--strict", "--no-dangling"], cwd=remote.path, check=True)
    assert repo.publish([], message="Again", moves=moved(names)).written == ()


def test_a_folder_that_is_emptied_is_gone(remote: GitRemote, repo: OpsRepo) -> None:
    names = [f"n{number:04}.toml" for number in range(2 * FEW_CHANGES)]
    remote.commit({"README.md": b"ops", **{f"{ACTIONS}/{n}": b"x" for n in names}})
    repo.fetch()
    repo.publish([], message="Archive", moves=moved(names))
    assert remote.files("") == {"README.md": b"ops", **{f"{MONTH}/{n}": b"x" for n in names}}
