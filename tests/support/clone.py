"""A clone of an ops repo, beside the remote that it follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dispatcher.ops_repo import OpsRepo
from dispatcher.ops_repo.git import Done, Git
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n"})
    return made


@pytest.fixture
def repo(tmp_path: Path, remote: GitRemote) -> Iterator[OpsRepo]:
    made = opened(tmp_path, remote)
    yield made
    made.close()


@pytest.fixture
def at_head(tmp_path: Path, remote: GitRemote) -> Iterator[OpsRepo]:
    """A clone ``clone.git`` in the test's directory, which has seen the remote's head."""
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=20)
    made = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    made.mark_seen(made.fetch().commit)
    yield made
    made.close()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """git's subcommands that are run from now on, except for processes that are kept."""
    names: list[str] = []
    run = Git._run

    def noted(git: Git, git_dir: Path, args: Sequence[str], **more: Any) -> Done:
        names.append(args[0])
        return run(git, git_dir, args, **more)

    monkeypatch.setattr(Git, "_run", noted)
    return names


def opened(root: Path, remote: GitRemote) -> OpsRepo:
    """The clone in a state directory, as one more process opens it."""
    settings = OpsRepoSettings(remote=str(remote.path))
    return OpsRepo(git_dir=root / "state" / "ops.git", settings=settings)
