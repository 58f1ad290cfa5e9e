"""A remote that names its objects by SHA-256, which the dispatcher does not support."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dispatcher.errors import Misconfigured
from dispatcher.operate.ops_repo_checks import check_ops_repo
from dispatcher.ops_repo import OpsRepo
from dispatcher.settings import OpsRepoSettings, Settings
from tests.servers.git_remote import ENV, GitRemote

pytestmark = pytest.mark.needs("git")


def test_it_is_told_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "remote.git"
    init = ["git", "init", "-q", "--bare", "-b", "main", "--object-format=sha256", path]
    subprocess.run(init, check=True, env=ENV)
    GitRemote.there(path).commit({"README": b"x"})
    ops_repo = OpsRepoSettings(remote=str(path))
    repo = OpsRepo(git_dir=tmp_path / "clone.git", settings=ops_repo)
    settings = Settings(state_dir=tmp_path / "state", ops_repo=ops_repo)
    told = []
    with pytest.raises(Misconfigured, match="names its objects by sha256") as error:
        repo.fetch()
    told.append(error.value)
    with pytest.raises(Misconfigured, match="names its objects by sha256") as error:
        list(
            check_ops_repo(
                settings, lambda: repo, lambda: pytest.fail("not asked"), read_only=False
            )
        )
    told.append(error.value)
    assert all("--object-format=sha1" in (each.remedy or "") for each in told)
    repo.close()
