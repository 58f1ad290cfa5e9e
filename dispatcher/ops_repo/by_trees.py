"""Builds a commit from the trees on the way to its files: each is read by the process that the clone keeps,
and written by ourselves, so that a commit of a few files starts no process.

Whatever git itself reads is read, also names of more than 65,535 bytes, at which ``git fast-import`` stops
("Corrupt mode in …", git 2.39.5). What is not changed stays as it is, byte for byte.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from dispatcher.ops_repo import loose_objects
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.packs import NewObject
from dispatcher.ops_repo.recent_trees import Names
from dispatcher.ops_repo.records import TREE_MODE, Entry, NewFile, is_oid

_UNREADABLE = "Corrupt mode in"

READ_LIMIT = 512 * 1024
"""Bytes of a tree that is read into memory: some 10,000 names, for which that takes no longer than a process
of git. Anybody who pushes can make a larger one."""


class TooManyNames(Exception):
    """A directory has more names than are read into memory."""


def is_needed(failed: GitFailed) -> bool:
    """Whether fast-import failed at a tree that it cannot read."""
    return _UNREADABLE in failed.own_text


def commit(
    clone: Clone,
    base: str,
    changes: Mapping[str, Entry | None],
    *,
    message: str,
    who: str,
    at: int | None = None,
    limit: int | None,
    made: list[NewObject] | None = None,
) -> str:
    """Make a commit on ``base``; returns its hash. It is kept by no ref.

    Args:
        changes: the new entry at each path; None removes it.
        who: ``name <address>`` of author and committer.
        at: seconds since the epoch; None for now.
        limit: bytes of a tree that is read; None for any.
        made: gets the trees, and last the commit.

    Raises:
        GitFailed: a tree cannot be read or written.
        TooManyNames: see there.
    """
    root, made = _root(clone, base), [] if made is None else made
    tree = _with(clone, root, changes, like=base, limit=limit, made=made) or _written(
        clone, [], like=base, made=made
    )
    stamp = f"{who} {int(time.time()) if at is None else at} +0000"
    text = f"tree {tree}\nparent {base}\nauthor {stamp}\ncommitter {stamp}\n\n{message}"
    return _write(clone, "commit", text.encode("utf-8", "replace"), like=base, made=made)


def stored(
    clone: Clone, files: Sequence[NewFile], *, like: str, made: list[NewObject] | None = None
) -> dict[str, Entry]:
    """Write the files' contents to the clone; returns them as entries.

    Args:
        like: hash of any object of the clone.
        made: gets what is written.
    """
    made = [] if made is None else made
    return {
        file.path: Entry(mode=0o100644, oid=_write(clone, "blob", file.data, like=like, made=made))
        for file in files
    }


def found(clone: Clone, commit: str, paths: Iterable[str], *, limit: int) -> dict[str, Entry]:
    """The entries at these paths of a commit; missing ones are left out.

    Args:
        limit: bytes of a tree that is read.

    Raises:
        TooManyNames: see there.
    """
    directories: dict[str, Names] = {"": listed(clone, _root(clone, commit), limit=limit)}

    def names_of(directory: str) -> Names:
        at, names = "", directories[""]
        for name in directory.split("/") if directory else ():
            at = f"{at}/{name}" if at else name
            if at not in directories:
                raw = names.get(os.fsencode(name))
                entry = _entry(raw) if raw else None
                oid = entry.oid if entry and entry.directory else ""
                directories[at] = listed(clone, oid, limit=limit)
            names = directories[at]
        return names

    entries: dict[str, Entry] = {}
    for path in paths:
        directory, _, name = path.rpartition("/")
        raw = names_of(directory).get(os.fsencode(name))
        if raw is not None:
            entries[path] = _entry(raw)
    return entries


def directory(clone: Clone, commit: str, path: str, *, limit: int) -> dict[str, Entry]:
    """The entries of a directory of a commit, by name; none if there is no such directory.

    Args:
        limit: bytes of a tree that is read.

    Raises:
        TooManyNames: see there.
    """
    entry = found(clone, commit, [path], limit=limit).get(path)
    inside = entry is not None and entry.directory
    names = listed(clone, entry.oid if entry and inside else "", limit=limit)
    return {os.fsdecode(name): _entry(raw) for name, raw in names.items()}


def listed(clone: Clone, tree: str, *, limit: int | None) -> Names:
    """The entries of a tree; none for "", an empty one.

    Args:
        limit: bytes of it that are read; None for any.

    Raises:
        GitFailed: the clone does not have it.
        TooManyNames: it is larger.
    """
    if not tree:
        return {}
    if recent := clone.trees.get(tree):
        names, size = recent
        _check_size(tree, size, limit)
        return names
    (info,) = clone.objects.info([tree])
    if info is None or info.kind != "tree":
        raise GitFailed("cat-file", 0, f"missing tree {tree}")
    _check_size(tree, info.size, limit)
    data = clone.objects.contents([tree])[tree]
    try:
        names = _parsed(data, hash_bytes=len(tree) // 2)
    except ValueError:
        raise GitFailed("cat-file", 0, f"bad tree object {tree}") from None
    clone.trees.keep(tree, names, len(data))
    return names


def _check_size(tree: str, size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise TooManyNames(tree)


def differing(
    clone: Clone, old: str, new: str, *, limit: int
) -> list[tuple[str, Entry | None, Entry | None]]:
    """The names whose entries differ between two trees, with the older and the newer one, in git's order. A
    directory that becomes a file, or the other way round, is in it twice.

    Args:
        limit: bytes of a tree that are read.

    Raises:
        GitFailed, TooManyNames: see ``listed``.
    """
    before, after = (listed(clone, tree, limit=limit) for tree in (old, new))
    sides = {
        _order(raw): name
        for names in (before, after)
        for name, raw in names.items()
        if before.get(name) != after.get(name)
    }
    differences = []
    for order, name in sorted(sides.items()):
        raws = [names.get(name) for names in (before, after)]
        was, now = (_entry(raw) if raw and _order(raw) == order else None for raw in raws)
        differences.append((os.fsdecode(name), was, now))
    return differences


def _parsed(data: bytes, *, hash_bytes: int) -> Names:
    names: dict[bytes, bytes] = {}
    start = 0
    while start < len(data):
        nul = data.index(b"\0", start)
        end = nul + 1 + hash_bytes
        names[data[data.index(b" ", start) + 1 : nul]] = data[start:end]
        start = end
    return names


def changed(
    clone: Clone,
    names: Names,
    changes: Mapping[str, Entry | None],
    *,
    like: str,
    made: list[NewObject] | None = None,
) -> str | None:
    """Write one directory with its changes; returns its hash, or None if nothing is left in it.

    Args:
        names: as ``listed`` returns them.
        changes: the new entry under each name; None removes it.
        like: hash of any object of the clone.
        made: gets the tree.
    """
    gone = {os.fsencode(name) for name in changes}
    entries = [raw for name, raw in names.items() if name not in gone]
    for name, entry in changes.items():
        if entry is not None:
            raw = _raw(os.fsencode(name), entry)
            entries.insert(bisect_left(entries, _order(raw), key=_order), raw)
    made = [] if made is None else made
    return _written(clone, entries, like=like, made=made) if entries else None


def _with(
    clone: Clone,
    tree: str,
    changes: Mapping[str, Entry | None],
    *,
    like: str,
    limit: int | None,
    made: list[NewObject],
) -> str | None:
    """The tree with the changes, or None if nothing is left in it; "" is an empty tree."""
    here: dict[str, Entry | None] = {}
    below: dict[str, dict[str, Entry | None]] = {}
    for path, entry in changes.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = entry
        else:
            here[name] = entry
    names = listed(clone, tree, limit=limit)
    for name, inner in below.items():
        if here.get(name) is not None and not any(inner.values()):
            continue  # a file takes the place of the directory from which others are removed
        raw = names.get(os.fsencode(name))
        there = _entry(raw) if raw else None
        written = _with(
            clone,
            there.oid if there and there.directory else "",
            inner,
            like=like,
            limit=limit,
            made=made,
        )
        here[name] = Entry(mode=TREE_MODE, oid=written) if written else None
    return changed(clone, names, here, like=like, made=made)


def _root(clone: Clone, commit: str) -> str:
    """Hash of a commit's tree."""
    (info,) = clone.objects.info([commit])
    line = b""
    if info is not None and info.kind == "commit":
        line = clone.objects.contents([commit])[commit].partition(b"\n")[0]
    tree = line.removeprefix(b"tree ").decode("ascii", "replace")
    if not is_oid(tree):
        raise GitFailed("cat-file", 0, f"bad object {commit}")
    return tree


def _entry(raw: bytes) -> Entry:
    mode, _, rest = raw.partition(b" ")
    return Entry(mode=_canonical(int(mode, 8)), oid=rest.partition(b"\0")[2].hex())


def _canonical(mode: int) -> int:
    """The mode as which git reads one of a tree: git's own programs write no others, but any may be pushed,
    and what ``git fsck`` says of them is only a warning (git 2.39.5, ``canon_mode``).
    """
    kind = mode & 0o170000
    if kind == 0o100000:
        return 0o100755 if mode & 0o100 else 0o100644
    return kind if kind in (TREE_MODE, 0o120000) else 0o160000


def _raw(name: bytes, entry: Entry) -> bytes:
    return b"%o %b\0" % (entry.mode, name) + bytes.fromhex(entry.oid)


def _order(raw: bytes) -> bytes:
    """What git sorts entries by: the name, of a directory with a slash."""
    mode, _, rest = raw.partition(b" ")
    name = rest.partition(b"\0")[0]
    return name + b"/" if _canonical(int(mode, 8)) == TREE_MODE else name


def _written(clone: Clone, entries: Sequence[bytes], *, like: str, made: list[NewObject]) -> str:
    data = b"".join(entries)
    tree = _write(clone, "tree", data, like=like, made=made)
    clone.trees.keep(tree, _parsed(data, hash_bytes=len(like) // 2), len(data))
    return tree


def _write(clone: Clone, kind: str, data: bytes, *, like: str, made: list[NewObject]) -> str:
    made.append(NewObject(kind, data))
    return loose_objects.write(clone.path, kind, data, like=like)
