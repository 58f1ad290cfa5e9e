"""Writes objects into a repository as loose files: a commit of ours is a handful of small objects, for which
processes of git would take longer than for all the rest.

The format is the one of git's manual (gitrepository-layout, "Git Internals - Git Objects"). As with git's
own commands here, nothing is synced to the disk: the clone can be rebuilt.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

from dispatcher.ops_repo.failure import GitFailed

NULL = "0" * 40
"""Hash of no object, of a repository as ``make_repository`` makes it."""

_LEVEL = 1
_SHA1_DIGITS = 40

_TRIES = 10
"""Attempts to make a directory before git removes it because it is empty, as it does when it packs."""


def write(git_dir: Path, kind: str, data: bytes, *, like: str) -> str:
    """Write an object; returns its hash. A file that is there is replaced: it may have been written before a
    power cut and be empty, or be about to be pruned because it is old.

    Args:
        kind: ``blob``, ``tree`` or ``commit``.
        like: hash of any object of the repository, which tells by which algorithm it names objects.

    Raises:
        GitFailed: it cannot be written.
    """
    whole = _whole(kind, data)
    oid = hashed(whole, like=like).hex()
    file = git_dir / "objects" / oid[:2] / oid[2:]
    try:
        _place(file, zlib.compress(whole, _LEVEL))
    except OSError as error:
        why = f"unable to write loose object file {file}: {error.strerror or error}"
        raise GitFailed("hash-object", 128, why) from error
    return oid


def name(kind: str, data: bytes, *, like: str) -> str:
    """The hash of an object; the arguments are those of ``write``."""
    return hashed(_whole(kind, data), like=like).hex()


def hashed(data: bytes, *, like: str) -> bytes:
    """The digest of some bytes, by the algorithm of a repository in which ``like`` is the hash of an object."""
    algorithm = "sha1" if len(like) == _SHA1_DIGITS else "sha256"
    return hashlib.new(algorithm, data, usedforsecurity=False).digest()


def make_repository(git_dir: Path) -> None:
    """Make an empty bare repository, with what git wants to find in one.

    Raises:
        OSError: it cannot be made.
    """
    for directory in ("objects", "refs"):
        (git_dir / directory).mkdir(parents=True)
    (git_dir / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
    (git_dir / "HEAD").write_text("ref: refs/heads/none\n")


def _whole(kind: str, data: bytes) -> bytes:
    return f"{kind} {len(data)}\0".encode() + data


def _place(file: Path, content: bytes) -> None:
    """Write a file completely, or not at all. What a crash leaves has the name of git's own leftovers."""
    descriptor, unfinished = _unfinished(file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), 0o444)
        Path(unfinished).rename(file)
    except BaseException:
        with suppress(OSError):
            Path(unfinished).unlink()
        raise


def _unfinished(directory: Path) -> tuple[int, str]:
    """Create a temporary file; returns its descriptor and name."""
    for _ in range(_TRIES):
        directory.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            return tempfile.mkstemp(prefix="tmp_obj_", dir=directory)
    raise FileNotFoundError(2, "its directory is removed again and again", str(directory))
