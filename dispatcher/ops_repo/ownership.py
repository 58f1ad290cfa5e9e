"""Checks the ownership of a remote that is a path.

A push to a path runs the repository's hooks, and what its configuration names, in a process of our
own user: whoever may write there gains access to everything that we can read. git guards against
that by refusing a repository of another owner; but it looks at one directory only, and passes over
the hooks, the configuration and the directories above, by which the repository can be exchanged.

Reading is another matter. ``upload-pack`` runs no hook, and takes a command from nobody's
configuration but ours (``uploadpack.packObjectsHook``: git-config(1), protected configuration). Only
a repository that is a partial clone could have it fetch what is missing, by a command of its own;
``dispatcher.ops_repo.git`` lets it use no transport for that.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SUFFIXES = ("/.git", "", ".git/.git", ".git")
"""Where git looks for the repository that a path names, in this order: ``enter_repo`` in path.c."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A part of a repository that another user controls.

    Attributes:
        path: the file or directory that they own or may write.
        reason: why, as a clause.
    """

    path: Path
    reason: str


def foreign(remote: Path, *, uid: int | None = None) -> Foreign | None:
    """What users other than us and root may change of a repository, such that a push would run
    their commands; None if there is nothing, or no repository.

    A group that may write is trusted: it shares the repository by its owner's will.

    Args:
        remote: as the settings name it.
        uid: whose process pushes; the effective user's if None.
    """
    trusted = {0, os.geteuid() if uid is None else uid}
    folder = repository(remote)
    if folder is None:
        return None
    for path in _that_count(folder):
        with suppress(OSError):  # what we cannot access, git cannot use either
            status = path.stat()
            if status.st_uid not in trusted:
                return Foreign(path, f"belongs to {_name(status.st_uid)}")
            if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
                return Foreign(path, "may be written by everybody")
    return None


def repository(remote: Path) -> Path | None:
    """The directory of a repository that a path names, without links on the way."""
    for suffix in _SUFFIXES:
        path = Path(f"{remote}{suffix}")
        if path.is_file():
            target = _path_in(path, "gitdir: ")
            if target is not None:
                return Path(os.path.realpath(target))
        elif (path / "HEAD").is_file() and (path / "refs").is_dir():
            return Path(os.path.realpath(path))
    return None


def _that_count(folder: Path) -> Iterator[Path]:
    """Every file that could bring commands into a push, and its parent directories."""
    own = [folder]
    common = _path_in(folder / "commondir", "")
    if common is not None:
        own.append(Path(os.path.realpath(common)))
    for place in own:
        for name in ("config", "config.worktree", "hooks"):
            if (place / name).exists():
                real = Path(os.path.realpath(place / name))
                yield from (real, *real.parents)
        with suppress(OSError):
            hooks = sorted(p for p in (place / "hooks").iterdir() if p.suffix != ".sample")
            for hook in hooks:
                yield Path(os.path.realpath(hook))
        yield from (place, *place.parents)


def _path_in(file: Path, prefix: str) -> Path | None:
    """The path in one of git's pointer files, relative to that file."""
    with suppress(OSError, UnicodeDecodeError):
        text = file.read_text().rstrip("\n")
        if text.startswith(prefix):
            return file.parent / text.removeprefix(prefix)
    return None


def _name(uid: int) -> str:
    with suppress(KeyError):
        return f"user {pwd.getpwuid(uid).pw_name}"
    return f"user {uid}"
