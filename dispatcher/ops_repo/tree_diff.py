"""Differences between trees, each compared by itself and not recursively."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dispatcher.ops_repo import by_trees
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.records import Entry

_EMPTY_TREE = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
"""Hash of the tree without entries, by the number of its digits; git has it in every repository."""

READ_BYTES = 64 * 1024
"""Bytes of a tree that is compared here; larger ones are by git."""

Pair = tuple[str, str]
"""Hashes of an older and a newer tree."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A name whose entries differ between two trees.

    Attributes:
        old, new: the entries; None if missing. A directory that becomes a file is two differences
            of one name.
    """

    name: str
    old: Entry | None
    new: Entry | None


def empty_tree(commit: str) -> str:
    """Hash of the tree without entries, in the repository of a commit."""
    return _EMPTY_TREE[len(commit)]


def trees_at(clone: Clone, commits: Iterable[str], directory: str) -> list[str]:
    """Hash of the tree at a path in each commit; that of an empty one if it is not a directory."""
    names = list(commits)
    infos = clone.objects.info([f"{commit}:{directory}" for commit in names])
    return [
        info.oid if info is not None and info.kind == "tree" else empty_tree(commit)
        for commit, info in zip(names, infos, strict=True)
    ]


def compared(clone: Clone, pairs: Iterable[Pair]) -> dict[Pair, list[Difference]]:
    """The differences of each pair; equal trees are left out."""
    found: dict[Pair, list[Difference]] = {}
    large = []
    for old, new in dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]):
        try:
            names = by_trees.differing(clone, old, new, limit=READ_BYTES)
            found[old, new] = [Difference(*each) for each in names]
        except by_trees.TooManyNames:
            large.append((old, new))
    return found | (_by_git(clone, large) if large else {})


def _by_git(clone: Clone, differ: Sequence[Pair]) -> dict[Pair, list[Difference]]:
    stdin = "".join(f"{old} {new}\n" for old, new in differ).encode()
    done = clone.git.run(
        clone.path, "diff-tree", "--stdin", "-z", "--raw", "--no-renames", stdin=stdin
    )
    differences: dict[Pair, list[Difference]] = {pair: [] for pair in differ}
    for number, difference in _differences(done.out):
        differences[differ[number]].append(difference)
    return differences


def _differences(out: bytes) -> Iterator[tuple[int, Difference]]:
    """``diff-tree --stdin -z --raw``, with the number of the pair: a line with both hashes
    precedes the differences.
    """
    fields = out.split(b"\0")
    pair = -1
    for field, name in zip(fields[0::2], fields[1::2], strict=False):
        heading, _, facts = field.rpartition(b":")
        pair += heading.count(b"\n")
        old_mode, new_mode, old, new, _ = facts.decode("ascii").split(" ")
        yield pair, Difference(os.fsdecode(name), _entry(old_mode, old), _entry(new_mode, new))


def _entry(mode: str, oid: str) -> Entry | None:
    return Entry(mode=int(mode, 8), oid=oid) if int(mode, 8) else None
