"""The records of the ops repo adapter: frozen, plain data."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

LATEST = 253_402_300_799
"""The last second of the year 9999, since the epoch; no commit was made later."""

SHOWN = 120
"""Characters of a path that ``escaped`` shows."""


_OID = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")

TREE_MODE = 0o040000
"""git's mode of a directory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The branch of the remote as the last fetch found it.

    Attributes:
        commit: hash of the branch's head.
        seen: the last head whose consequences were recorded (``OpsRepo.mark_seen``), as stored in
            the clone; None in a fresh clone, or if the ref is damaged.
        rewritten: True if ``seen`` is not an ancestor of ``commit``: somebody force-pushed.
        seen_readable: False if the clone lost the commit ``seen``, so that its tree cannot be
            compared (the clone was rebuilt after the history was rewritten).
    """

    commit: str
    seen: str | None
    rewritten: bool
    seen_readable: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The clone's record of the last head whose consequences were recorded.

    Attributes:
        commit: a commit that the clone has; "" if there is none.
        names: the hash that the ref holds, whatever it is; "" if it holds none.
        damage: the defect of the ref, in words; "" if there is none.
    """

    commit: str = ""
    names: str = ""
    damage: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitInfo:
    """One commit.

    Attributes:
        sha, parents: hashes; two or more parents make a merge.
        author_name, author_email, committer_name, committer_email: as the commit claims; only a
            signature vouches for them.
        authored_at, committed_at: seconds since the epoch, as the commit claims.
        subject: first line of the message.
        co_authors: values of ``Co-authored-by`` trailers, such as ``Jo <jo@example.org>``.
    """

    sha: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    committer_name: str
    committer_email: str
    authored_at: int
    committed_at: int
    subject: str
    co_authors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class InTree:
    """An object in a git tree; its mode gives its kind.

    Attributes:
        mode: git's file mode, e.g. 0o100644.
    """

    mode: int

    @property
    def regular(self) -> bool:
        """True for a plain file, executable or not; only such a one may be read and run."""
        return self.mode & 0o170000 == 0o100000

    @property
    def directory(self) -> bool:
        """True for a directory; False for files, symlinks and submodules."""
        return self.mode == TREE_MODE


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry(InTree):
    """An entry of a tree.

    Attributes:
        oid: object hash (hex): of a blob, of a tree or of a foreign commit (0o160000).
    """

    oid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NewFile:
    """A file to be added.

    Attributes:
        path: from the root of the repository, with ``/``.
        data: its bytes.
        keeps: called with the bytes of an existing file at the path: True keeps it, False replaces
            it; anything that is not a regular file is replaced. None: nothing is ever replaced.
        beside: path of another file: this one belongs to it. It is written, over whatever is
            there, if and only if that file is, in the same commit. "" for a file by itself.
        removed: whether the path is to be removed instead.
        clears: whether files in the place of its directories give way; otherwise they are an error.
    """

    path: str
    data: bytes
    keeps: Callable[[bytes], bool] | None = None
    beside: str = ""
    removed: bool = False
    clears: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A file to be moved with its content and mode."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Replaced:
    """An entry that a file replaced.

    Attributes:
        path: of both.
        commit: the last commit that had the other.
        oid: object hash (hex) of the other.
    """

    path: str
    commit: str
    oid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """The result of a publish.

    Attributes:
        commit: head of the branch that holds it; no new commit if there was nothing left to write.
        written: paths that this publish added, targets of moves included.
        replaced: those of them that replaced another file.
        skipped: paths that were there already (or, for a move, whose source is gone); left alone.
    """

    commit: str
    written: tuple[str, ...]
    skipped: tuple[str, ...]
    replaced: tuple[Replaced, ...] = ()


def is_oid(text: str) -> bool:
    """Whether a text is the full hash of an object (hex, SHA-1 or SHA-256)."""
    return _OID.match(text) is not None


def claimed_time(text: str | bytes) -> int:
    """The time that a commit claims, seconds since the epoch; 0 if it is not valid. Whoever
    commits writes it, with as many digits as they like.
    """
    if len(text) > len(str(LATEST)) or not (text.isascii() and text.isdigit()):
        return 0
    return int(text) if int(text) <= LATEST else 0


def escaped(path: str) -> str:
    """A path of a repository, safe to display: what is not UTF-8 or cannot be printed (line
    feeds, escape sequences, turned reading direction) is written as a backslash escape.
    """
    raw = os.fsencode(path).replace(b"\\", b"\\\\")
    text = raw.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
