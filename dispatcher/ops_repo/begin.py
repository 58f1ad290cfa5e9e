"""Creates the first commit of an ops repository, before there is a branch to build on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from dispatcher.errors import Conflict, Misconfigured
from dispatcher.ops_repo.batch import paths_checked
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.fast_import import added, commit_stream
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.records import NewFile
from dispatcher.ops_repo.transport import Transport, transport_of
from dispatcher.settings import OpsRepoSettings


def from_anywhere(remote: str) -> str:
    """The address, independent of the working directory: a path becomes absolute.

    Raises:
        Misconfigured: it is not an address.
    """
    if transport_of(remote) is not Transport.PATH or "://" in remote:
        return remote
    return str(Path(remote).expanduser().absolute())


def begin(
    settings: OpsRepoSettings,
    files: Sequence[NewFile],
    *,
    message: str,
    credential: Callable[[], str | None] = lambda: None,
) -> str:
    """Make the branch with its first commit and push it; returns the commit's hash.

    If nothing exists at a path remote, a bare repository is created.

    Raises:
        Conflict: the branch exists.
        Misconfigured, Denied, Unavailable: as ``OpsRepo.fetch``.
    """
    git = Git(settings, credential)
    branch = f"refs/heads/{settings.branch}"
    try:
        if git.transport is Transport.PATH:
            _make(git)
        with tempfile.TemporaryDirectory(prefix="disinto-begin-") as folder:
            bare = Path(folder, "begin.git")
            git.run(bare, "init", "--quiet", "--bare", "--template=")
            output = git.ask(
                bare, "ls-remote", "--quiet", *git.path_options("fetch"), "--", git.remote, branch
            )
            if output.line:
                raise Conflict(
                    f"{git.where} has a branch {settings.branch!r} already",
                    remedy="Nothing was changed; use it as it is, or name another branch.",
                )
            stream = commit_stream(
                settings, branch, added(paths_checked(files)), message, base=None
            )
            commit = git.run(bare, "fast-import", "--quiet", "--done", stdin=stream).line
            git.ask(
                bare,
                "push",
                "--quiet",
                *git.path_options("push"),
                "--",
                git.remote,
                f"{commit}:{branch}",
            )
    except GitFailed as failed:
        raise git.meaning(failed) from None
    return commit


def _make(git: Git) -> None:
    path = Path(git.remote.removeprefix("file://"))
    try:
        if path.exists() and any(path.iterdir()):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        raise Misconfigured(
            f"{path} cannot become a repository: {failed.strerror}",
            remedy="Check `remote` in [ops_repo].",
        ) from None
    git.run(
        path, "init", "--quiet", "--bare", "--template=",
        f"--initial-branch={git.settings.branch}",
    )  # fmt: skip
