"""Signed commits on a remote, and their judgement by a clone of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.ops_repo import OpsRepo, Signature, SignatureStatus, Signers
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

GOOD, BAD, UNSIGNED = SignatureStatus.GOOD, SignatureStatus.BAD, SignatureStatus.UNSIGNED


UNKNOWN, EXPIRED = SignatureStatus.UNKNOWN_KEY, SignatureStatus.EXPIRED


REVOKED = SignatureStatus.REVOKED


@pytest.fixture
def judged(tmp_path: Path, remote: GitRemote) -> Iterator[Callable[..., Signature]]:
    settings = OpsRepoSettings(remote=str(remote.path))
    repo = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)

    def judge(commit: str, signers: Signers) -> Signature:
        remote.point(commit)
        repo.fetch()
        return repo.signature(commit, signers)

    yield judge
    repo.close()


def signed(remote: GitRemote, *config: str, date: str = "", **env: str) -> str:
    """A signed commit on the branch's tree and head."""
    options = [x for pair in config for x in ("-c", pair)]
    when = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date} if date else {}
    return remote.git(
        *options, "commit-tree", "-S", "-p", "main", "-m", "signed", "main^{tree}",
        env={**when, **env},
    )  # fmt: skip


Judge = Callable[..., Signature]


def tampered(remote: GitRemote, commit: str, old: str, new: str) -> str:
    raw = remote.git("cat-file", "commit", commit) + "\n"
    assert old in raw
    return remote.git(
        "hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.replace(old, new, 1).encode()
    )
