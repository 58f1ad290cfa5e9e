"""Writes refs of the clone as files, as git does: by way of a lock file, which no two programs make. In a
repository that is made for one push, all are one file, so that each needs no directories of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dispatcher.ops_repo.failure import GitFailed

_TRIES = 10
"""Attempts to make a directory before another process removes it because it is empty."""


def put(git_dir: Path, name: str, value: str, *, sync: bool = False) -> None:
    """Let a ref have this value, whatever it had.

    Args:
        name: in full, of a ref that is in no directory of another ref.
        sync: whether to write it to the disk before it gets its name.

    Raises:
        GitFailed: it is locked, or cannot be written.
    """
    file = git_dir / name
    lock = file.with_name(f"{file.name}.lock")
    try:
        descriptor = _locked(lock)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write(f"{value}\n")
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            lock.rename(file)
        except BaseException:
            with suppress(OSError):
                lock.unlink()
            raise
    except OSError as error:
        why = f"unable to create '{lock}': {error.strerror or error}"
        raise GitFailed("update-ref", 128, why) from error


def pack(git_dir: Path, refs: Mapping[str, str]) -> None:
    """Let a repository that nothing else uses have these refs, and of those that are packed no others.

    Raises:
        GitFailed: they cannot be written.
    """
    lines = sorted((os.fsencode(name), value.encode()) for name, value in refs.items())
    file = git_dir / "packed-refs"
    try:
        file.write_bytes(b"".join(b"%b %b\n" % (value, name) for name, value in lines))
    except OSError as error:
        why = f"unable to create '{file}': {error.strerror or error}"
        raise GitFailed("pack-refs", 128, why) from error


def remove(git_dir: Path, name: str, *, below: str) -> None:
    """Remove a ref that is not packed, and directories that it leaves empty.

    Args:
        below: the directory up to which they are removed.

    Raises:
        GitFailed: it cannot be removed.
    """
    file = git_dir / name
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        why = f"unable to remove '{file}': {error.strerror or error}"
        raise GitFailed("update-ref", 128, why) from error
    with suppress(OSError):
        while (file := file.parent) != git_dir / below and file != git_dir:
            file.rmdir()


def _locked(lock: Path) -> int:
    """Create the lock file; returns its descriptor."""
    for _ in range(_TRIES):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    raise FileNotFoundError(2, "its directory is removed again and again", str(lock))
