"""Runs git as the person at the terminal: with their name, configuration and keys.

The rest of this package excludes all of that; here it is needed. For the work tree that
``disinto init`` leaves, and for commits that only a person can sign.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dispatcher.errors import Conflict, Denied, Dependency, Misconfigured
from dispatcher.ops_repo.records import NewFile

TIMEOUT_S = 600.0
"""Generous, because a person may have to find their smart card."""


_OURS = ("VAULT_TOKEN", "BAO_TOKEN", "NOMAD_TOKEN", "DISINTO_")
"""Variables that are ours and not git's; a remote that is a path would hand them to its hooks."""

_SIGNING = ("user", "author", "committer", "gpg")
"""Sections of git's configuration for the author and for signing."""


class FileThere(Conflict):
    """A file that was to be added is on the branch already."""


def work_tree_of(file: Path) -> Path:
    """Top of the work tree that holds a file, else of the one we are in, else the directory we are
    in."""
    here = Path.cwd()
    for folder in (file.parent, here):
        with suppress(Denied):
            return Path(run_git(["rev-parse", "--show-toplevel"], folder).rstrip("\n"))
    return here


def identity(work_tree: Path | None = None) -> tuple[str, str] | None:
    """Name and e-mail address that the person's git is configured with, or None.

    Args:
        work_tree: where to read it; the current directory by default.
    """
    name, email = (_config(key, work_tree) for key in ("user.name", "user.email"))
    return (name, email) if name and email else None


def signs_by_default(work_tree: Path) -> bool:
    """Whether the person's git signs every commit there."""
    return _config("commit.gpgsign", work_tree).lower() in ("true", "yes", "on", "1")


def check_out(remote: str, folder: Path, *, branch: str) -> None:
    """Clone ``remote`` into a new ``folder`` with a work tree.

    Raises:
        Denied: git failed.
    """
    run_git(["clone", "--quiet", "--branch", branch, "--", remote, str(folder)])


def push_signed(
    files: Sequence[NewFile],
    *,
    work_tree: Path,
    remote: str,
    branch: str,
    message: str,
    trailers: Sequence[str] = (),
    onto: str = "",
) -> str:
    """Commit files in a fresh clone, signed as ``git commit -S`` would in a work tree, and push.

    Args:
        files: none of them may be there yet.
        work_tree: whose configuration names the person and their key; otherwise left alone.
        remote, branch: what the commit builds on.
        message, trailers: of the commit; trailers name what it approves.
        onto: the branch that is pushed; "" for ``branch`` itself.

    Returns:
        The commit (hex).

    Raises:
        FileThere: one of them is there.
        Misconfigured: git has no name or no key to sign with.
        Denied: the remote rejected the push.
    """
    if identity(work_tree) is None:
        raise Misconfigured(
            "git does not know who you are",
            remedy="Set it: git config --global user.name …, and user.email …",
        )
    with tempfile.TemporaryDirectory(prefix="disinto-sign-") as temporary:
        folder = Path(temporary, "ops")
        run_git(["clone", "--quiet", "--depth=1", "--branch", branch, "--", remote, str(folder)])
        for file in files:
            target = folder / file.path
            if target.exists() or target.is_symlink():
                raise FileThere(f"somebody else has just sent {file.path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)
        run_git(["add", "--", *(file.path for file in files)], folder)
        _sign(folder, _with_trailers(message, trailers), _signing_config(work_tree))
        run_git(["push", "--quiet", "origin", f"HEAD:refs/heads/{onto or branch}"], folder)
        return run_git(["rev-parse", "HEAD"], folder).strip()


def signing_commands(
    files: Sequence[NewFile], *, branch: str, message: str, trailers: Sequence[str] = ()
) -> tuple[str, ...]:
    """The commands by which a person signs the same commit in a work tree of their own."""
    paragraphs = [message, "\n".join(trailers)] if trailers else [message]
    parts = " ".join(f"-m {shlex.quote(paragraph)}" for paragraph in paragraphs)
    return (
        f"git add {shlex.join(file.path for file in files)}",
        f"git commit -S {parts}",
        f"git push origin {shlex.quote(f'HEAD:{branch}')}",
    )


def _with_trailers(message: str, trailers: Sequence[str]) -> str:
    return "\n".join([message, "", *trailers]) if trailers else message


def _sign(folder: Path, message: str, config: Sequence[tuple[str, str]]) -> None:
    try:
        run_git(["commit", "--quiet", "--gpg-sign", "-m", message], folder, config=config)
    except Denied as failed:
        raise Misconfigured(
            f"your git could not sign the commit: {failed.what}",
            remedy="Set a key: git config --global user.signingkey …; with an SSH key also "
            "gpg.format ssh.",
        ) from None


def _config(key: str, work_tree: Path | None) -> str:
    done = subprocess.run(
        ["git", "config", "--get", key], cwd=work_tree, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _signing_config(work_tree: Path) -> list[tuple[str, str]]:
    """Git's configuration in a work tree for the author and for signing, in its order."""
    entries = run_git(["config", "--list", "-z"], work_tree).split("\0")
    pairs = (entry.partition("\n") for entry in entries if entry)
    # A key without a value means true.
    config = [
        (k, v if has_value else "true") for k, has_value, v in pairs if k.split(".")[0] in _SIGNING
    ]
    if dict(config).get("gpg.format") != "ssh":
        return config
    # git resolves a key file's path from the top of the work tree.
    return [(k, _key_file(v, work_tree) if k == "user.signingkey" else v) for k, v in config]


def _key_file(key: str, work_tree: Path) -> str:
    file = work_tree / key
    return str(file) if file.is_file() else key


def run_git(
    arguments: Sequence[str],
    folder: Path | None = None,
    *,
    config: Sequence[tuple[str, str]] = (),
) -> str:
    """Run git as the person would, and return its standard output; it may ask them for a
    passphrase on the terminal.

    Args:
        config: overrides what git reads in the directory.

    Raises:
        Denied: git failed; with its message.
        Misconfigured: git is not installed.
    """
    environ = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)} | {"LC_ALL": "C"}
    there = int(environ.get("GIT_CONFIG_COUNT") or 0)
    for number, (key, value) in enumerate(config, start=there):
        environ[f"GIT_CONFIG_KEY_{number}"], environ[f"GIT_CONFIG_VALUE_{number}"] = key, value
        environ["GIT_CONFIG_COUNT"] = str(number + 1)
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise Misconfigured("git is not installed", remedy="Install git 2.36 or newer.") from None
    except subprocess.TimeoutExpired:
        raise Denied(Dependency.REMOTE, f"git {arguments[0]} did not end") from None
    if done.returncode:
        message = " ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise Denied(Dependency.REMOTE, f"git {arguments[0]} failed: {message[:400]}")
    return done.stdout
