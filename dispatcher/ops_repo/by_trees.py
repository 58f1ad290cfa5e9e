"""Builds a commit from trees, for a base that ``git fast-import`` cannot read.

fast-import stops ("Corrupt mode in …", git 2.39.5) at a tree that has a name of more than 65,535 bytes,
which anybody who pushes can make, and which every other part of git reads. Here each directory
along the path is listed and written by itself. It is slower, and therefore only used then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.records import TREE_MODE, Entry, NewFile

_UNREADABLE = "Corrupt mode in"


def is_needed(failed: GitFailed) -> bool:
    """Whether fast-import failed at a tree that it cannot read."""
    return _UNREADABLE in failed.own_text


def commit(
    clone: Clone, base: str, changes: Mapping[str, Entry | None], *, message: str, who: str
) -> str:
    """Make a commit on ``base``; returns its hash. It is kept by no ref.

    Args:
        changes: the new entry at each path; None removes it.
        who: ``name <address>`` of author and committer.

    Raises:
        GitFailed: git cannot read or write a tree.
    """
    tree = _with(clone, f"{base}^{{tree}}", changes) or _written(clone, [])
    at = f"{who} {int(time.time())} +0000"
    text = f"tree {tree}\nparent {base}\nauthor {at}\ncommitter {at}\n\n{message}\n"
    done = clone.git.run(
        clone.path, "hash-object", "-t", "commit", "-w", "--stdin",
        stdin=text.encode("utf-8", "replace"),
    )  # fmt: skip
    return done.line


def stored(clone: Clone, files: Sequence[NewFile]) -> dict[str, Entry]:
    """Write the files' contents to the clone; returns them as entries."""
    blobs = {}
    for file in files:
        done = clone.git.run(clone.path, "hash-object", "-w", "--stdin", stdin=file.data)
        blobs[file.path] = Entry(mode=0o100644, oid=done.line)
    return blobs


def _line(name: str, entry: Entry) -> bytes:
    """An entry as ``git mktree`` reads it."""
    kind = {TREE_MODE: "tree", 0o160000: "commit"}.get(entry.mode, "blob")
    return f"{entry.mode:06o} {kind} {entry.oid}\t".encode() + os.fsencode(name)


def _with(clone: Clone, tree: str, changes: Mapping[str, Entry | None]) -> str | None:
    """The tree with the changes, or None if nothing is left in it; "" is an empty tree."""
    here: dict[str, Entry | None] = {}
    below: dict[str, dict[str, Entry | None]] = {}
    for path, entry in changes.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = entry
        else:
            here[name] = entry
    lines = listed(clone, tree)
    for name, inner in below.items():
        held = lines.get(os.fsencode(name), b"").split(b" ")
        oid = held[2].partition(b"\t")[0].decode() if held[1:2] == [b"tree"] else ""
        written = _with(clone, oid, inner)
        here[name] = Entry(mode=TREE_MODE, oid=written) if written else None
    return changed(clone, lines, here)


def changed(
    clone: Clone, lines: Mapping[bytes, bytes], changes: Mapping[str, Entry | None]
) -> str | None:
    """Write one directory with its changes; returns its hash, or None if nothing is left in it.

    Args:
        lines: as ``listed`` returns them.
        changes: the new entry under each name; None removes it.
    """
    gone = {os.fsencode(name) for name in changes}
    kept = [entry for name, entry in lines.items() if name not in gone]
    kept += [_line(name, entry) for name, entry in changes.items() if entry is not None]
    return _written(clone, kept) if kept else None


def listed(clone: Clone, tree: str) -> dict[bytes, bytes]:
    """The lines of ``ls-tree`` by name; none for "", an empty tree."""
    if not tree:
        return {}
    done = clone.git.run(clone.path, "ls-tree", "-z", tree)
    return {entry.partition(b"\t")[2]: entry for entry in done.out.split(b"\0") if entry}


def _written(clone: Clone, lines: Sequence[bytes]) -> str:
    done = clone.git.run(
        clone.path, "mktree", "-z", "--missing", stdin=b"".join(entry + b"\0" for entry in lines)
    )
    return done.line
