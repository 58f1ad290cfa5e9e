"""``disinto init --remote``: an empty repository elsewhere becomes an ops repo."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from dispatcher.errors import Exit
from dispatcher.settings import load_settings
from tests.servers import git_https
from tests.servers.git_remote import GitRemote
from tests.support.cli_process import Said, disinto

pytestmark = pytest.mark.needs("git")

ROOT = Path(__file__).parents[2]
TOKEN = "canary-of-the-remote"


def init(cwd: Path, *words: str, **env: str) -> Said:
    own = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": str(ROOT), **env}
    return disinto("init", *words, env=own, cwd=cwd)


def files(remote: Path) -> str:
    return subprocess.run(
        ["git", "-C", str(remote), "ls-tree", "-r", "--name-only", "main"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def test_a_relative_path_is_the_same_repository_for_the_settings(tmp_path: Path) -> None:
    remote = GitRemote(tmp_path / "ops.git")
    said = init(tmp_path, "--remote", "ops.git", "office")
    assert said.code == 0, said
    settings = load_settings(tmp_path / "office" / "disinto.toml", {})
    assert settings.ops_repo.remote == str(remote.path)
    name = settings.vault.installation
    assert re.fullmatch(r"ops-[0-9a-f]{8}", name)
    assert init(tmp_path, "another").code == 0
    another = load_settings(tmp_path / "another" / "disinto.toml", {}).vault.installation
    assert re.fullmatch(r"ops-[0-9a-f]{8}", another)
    assert another != name
    assert (tmp_path / "office" / "ops" / "examples" / "hello.toml").is_file()
    assert "vault/actions/.gitkeep" in files(remote.path)


def test_a_repository_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    remote = GitRemote(tmp_path / "ops.git")
    before = remote.commit({"README.md": b"mine"})
    said = init(tmp_path, "--remote", "ops.git", "office")
    assert said.code == Exit.CANTCREAT
    assert "set [ops_repo] remote in the new disinto.toml" in said.err
    assert remote.head == before
    assert init(tmp_path, "office").code == 0, "the second try finds no remains"


def test_a_remote_by_https_wants_a_token(tmp_path: Path) -> None:
    GitRemote(tmp_path / "served" / "ops.git")
    with git_https.serve(tmp_path / "served", user="disinto", token=TOKEN) as server:
        url = f"{server.url}/ops.git"
        words = ("--remote", url, "--token-env", "FORGE_TOKEN", "office")
        trust = {"GIT_SSL_CAINFO": str(server.ca), "GIT_TERMINAL_PROMPT": "0"}
        unset = init(tmp_path, *words, **trust)
        assert unset.code == Exit.CONFIG
        assert "FORGE_TOKEN is not set" in unset.err
        said = init(tmp_path, *words, **trust, FORGE_TOKEN=TOKEN)
    assert said.code == 0, said
    settings = load_settings(tmp_path / "office" / "disinto.toml", {})
    assert (settings.ops_repo.remote, settings.ops_repo.token_env) == (url, "FORGE_TOKEN")
    assert "vault/actions/.gitkeep" in files(tmp_path / "served" / "ops.git")
    # The work tree is the person's own git's affair, which has no token here.
    assert f"git clone {url}" in said.err
    assert not (tmp_path / "office" / "ops").exists()
    assert TOKEN not in said.out + said.err
