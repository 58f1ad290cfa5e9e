"""A name longer than git's fast-import reads does not keep results out of the ops repo."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dispatcher.ops_repo import Move, NewFile, OpsRepo
from dispatcher.settings import OpsRepoSettings

pytestmark = pytest.mark.needs("git")

LONG = "n" * 70_000
PERSON = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "a"), ("EMAIL", "a@example.org"))
}


def git(remote: Path, *words: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["git", "-C", str(remote), *words],
        input=stdin,
        capture_output=True,
        check=True,
        env={**os.environ, **PERSON},
    )
    return done.stdout.decode().strip()


@pytest.fixture(params=["", "vault", "vault/actions"])
def remote(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An ops repo with such a name in one of the directories on the way to a result."""
    remote = tmp_path / "ops.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    blob = git(remote, "hash-object", "-w", "--stdin", stdin=b'id = "a"\n')
    long = f"100644 blob {blob}\t{LONG}\n"

    def tree(directory: str, line: str) -> str:
        lines = line + (long if request.param == directory else "")
        return git(remote, "mktree", stdin=lines.encode())

    actions = tree("vault/actions", f"100644 blob {blob}\ta.toml\n")
    vault = tree("vault", f"040000 tree {actions}\tactions\n")
    root = tree("", f"040000 tree {vault}\tvault\n")
    git(remote, "update-ref", "refs/heads/main", git(remote, "commit-tree", root, "-m", "x"))
    return remote


def test_results_and_moves_arrive_and_nothing_else_changes(remote: Path, tmp_path: Path) -> None:
    settings = OpsRepoSettings(remote=str(remote))
    repo = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings, credential=lambda: None)
    before = git(remote, "ls-tree", "-r", "-z", "main").split("\0")
    repo.fetch()
    result = NewFile(path="vault/actions/a.result.json", data=b"{}\n")
    published = repo.publish([result], message="Result of a")
    assert published.written == (result.path,)
    after = git(remote, "ls-tree", "-r", "-z", "main").split("\0")
    assert {entry.partition("\t")[2] for entry in set(after) - set(before)} == {result.path}
    assert set(before) <= set(after)
    assert git(remote, "log", "-1", "--format=%an %s", "main") == "disinto Result of a"
    moves = [
        Move(source=f"vault/actions/{name}", target=f"vault/done/2026-01/{name}")
        for name in ("a.toml", "a.result.json")
    ]
    repo.publish([], moves=moves, message="Archive")
    names = git(remote, "ls-tree", "-r", "-z", "--name-only", "main").split("\0")
    assert {m.target for m in moves} <= set(names)
    assert not {m.source for m in moves} & set(names)
    git(remote, "fsck", "--connectivity-only")
