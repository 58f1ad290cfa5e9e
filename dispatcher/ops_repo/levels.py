"""Reads the relevant directories, and never anything deeper.

Anybody who pushes may nest directories arbitrarily deep. git walks a tree recursively, so with one
push they could crash a walk through all of it. Therefore each directory is listed or compared by
itself: the actions, the formulas, the archive and its dated directories.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from dispatcher.model.paths import DONE_PATH
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.files import WATCHED, is_dated
from dispatcher.ops_repo.records import Entry
from dispatcher.ops_repo.tree_diff import compared, trees_at


def listing(clone: Clone, commit: str) -> dict[str, Entry]:
    """Every relevant entry of a commit, by path."""
    entries = children(clone, commit, WATCHED)
    entries.update(children(clone, commit, _dated(entries)))
    return entries


def dated(clone: Clone, commit: str) -> list[str]:
    """Paths of the archive's directories in a commit."""
    return _dated(children(clone, commit, (DONE_PATH,)))


def children(clone: Clone, commit: str, folders: Iterable[str]) -> dict[str, Entry]:
    """The direct entries of these directories, by path."""
    by_path: dict[str, Entry] = {}
    for group in groups(sorted(f"{folder}/" for folder in folders)):
        done = clone.git.run(clone.path, "ls-tree", "-z", commit, "--", *group)
        by_path.update(entries(done.out))
    return by_path


def differences(clone: Clone, old: str, new: str) -> dict[str, Entry | None]:
    """Relevant paths that differ between two commits, with the entry in the new one."""
    entries = _compared(clone, old, new, WATCHED)
    changed = [path for path in entries if _is_dated(path)]
    entries.update(_compared(clone, old, new, changed))
    return entries


def _dated(entries: dict[str, Entry]) -> list[str]:
    return [path for path, entry in entries.items() if entry.directory and _is_dated(path)]


def _is_dated(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return folder == DONE_PATH and is_dated(name)


def _compared(clone: Clone, old: str, new: str, folders: Sequence[str]) -> dict[str, Entry | None]:
    pairs = {folder: trees_at(clone, (old, new), folder) for folder in folders}
    differ = compared(clone, ((before, after) for before, after in pairs.values()))
    entries: dict[str, Entry | None] = {}
    for folder, (before, after) in pairs.items():
        here = differ.get((before, after), ())
        # If a directory became a file, the new entry counts: it comes last.
        for each in sorted(here, key=lambda difference: difference.new is not None):
            entries[f"{folder}/{each.name}"] = each.new
    return entries


def entries(out: bytes) -> Iterator[tuple[str, Entry]]:
    """``ls-tree -z``: mode, type and hash, a tab, the path."""
    for line in out.split(b"\0"):
        if line:
            facts, _, path = line.partition(b"\t")
            mode, _, oid = facts.decode("ascii").split(" ")
            yield os.fsdecode(path), Entry(mode=int(mode, 8), oid=oid)


def groups(paths: Sequence[str], limit: int = 100_000) -> Iterator[list[str]]:
    """Paths in groups whose sum fits a command line."""
    group: list[str] = []
    size = 0
    for path in paths:
        size += len(os.fsencode(path)) + 1
        if group and size > limit:
            yield group
            group, size = [], len(os.fsencode(path)) + 1
        group.append(path)
    if group:
        yield group
