"""Reading the directories that count, and never what lies deeper.

Anybody who pushes may nest directories as deep as they like. git walks a tree by recursion, so a walk
through all of it costs them one push and us a crash. So each directory is listed or compared by
itself: the actions, the formulas, the archive and its months.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.files import WATCHED, is_month
from dispatcher.ops_repo.records import Entry
from dispatcher.settings import DONE_PATH

_EMPTY_TREE = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
"""Hash of the tree without entries, by the number of its digits; git has it in every repository."""


def listing(clone: Clone, commit: str) -> dict[str, Entry]:
    """Every path of a commit that counts."""
    found = children(clone, commit, WATCHED)
    found.update(children(clone, commit, _months(found)))
    return found


def months(clone: Clone, commit: str) -> list[str]:
    """Paths of the archive's directories in a commit."""
    return _months(children(clone, commit, (DONE_PATH,)))


def children(clone: Clone, commit: str, folders: Iterable[str]) -> dict[str, Entry]:
    """What lies directly in these directories, by path."""
    found: dict[str, Entry] = {}
    for group in groups(sorted(f"{folder}/" for folder in folders)):
        done = clone.git.run(clone.path, "ls-tree", "-z", commit, "--", *group)
        found.update(entries(done.out))
    return found


def differences(clone: Clone, old: str, new: str) -> dict[str, Entry | None]:
    """Paths that count and differ between two commits, with what the new one has."""
    found = _compared(clone, old, new, WATCHED)
    changed = [path for path in found if _is_month(path)]
    found.update(_compared(clone, old, new, changed))
    return found


def _months(found: dict[str, Entry]) -> list[str]:
    return [path for path, entry in found.items() if entry.directory and _is_month(path)]


def _is_month(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return folder == DONE_PATH and is_month(name)


def _compared(clone: Clone, old: str, new: str, folders: Sequence[str]) -> dict[str, Entry | None]:
    before, after = (_trees(clone, commit, folders) for commit in (old, new))
    differ = [f for f, one, two in zip(folders, before, after, strict=True) if one != two]
    if not differ:
        return {}
    pairs = "".join(f"{one} {two}\n" for one, two in zip(before, after, strict=True) if one != two)
    done = clone.git.run(
        clone.path, "diff-tree", "--stdin", "-z", "--raw", "--no-renames", stdin=pairs.encode()
    )
    return dict(_differences(done.out, differ))


def _trees(clone: Clone, commit: str, folders: Sequence[str]) -> list[str]:
    """Hash of the tree at each path; that of an empty one where there is not a directory."""
    infos = clone.objects.info([f"{commit}:{folder}" for folder in folders])
    return [
        info.oid if info is not None and info.kind == "tree" else _EMPTY_TREE[len(commit)]
        for info in infos
    ]


def _differences(out: bytes, folders: Sequence[str]) -> Iterator[tuple[str, Entry | None]]:
    """``diff-tree --stdin -z --raw`` of a pair of trees for each directory, in this order; a line
    with both hashes goes before what differs. A directory that becomes a file is a removal and an
    addition of one path, in either order: the addition is what counts, so it comes last.
    """
    fields = out.split(b"\0")
    added: list[tuple[str, Entry | None]] = []
    pair = -1
    for field, name in zip(fields[0::2], fields[1::2], strict=False):
        heading, _, facts = field.rpartition(b":")
        pair += heading.count(b"\n")
        _, mode, _, oid, status = facts.decode("ascii").split(" ")
        path = f"{folders[pair]}/{os.fsdecode(name)}"
        if status.startswith("D"):
            yield path, None
        else:
            added.append((path, Entry(mode=int(mode, 8), oid=oid)))
    yield from added


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
