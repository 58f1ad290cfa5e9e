"""Decides which files and moves of a publish are written on a head, and which are skipped."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dispatcher.errors import Conflict, Misconfigured
from dispatcher.model.result import RESULT_LIMIT as REPLACED_LIMIT
from dispatcher.ops_repo import by_trees
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.reader import entries_at, read
from dispatcher.ops_repo.records import Entry, Move, NewFile, Published, Replaced


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The content of one commit.

    Attributes:
        base: its parent.
        there: the entries at the paths concerned.
        new, over: files at free paths, and files that replace others.
        moved: the possible moves.
        skipped: paths left unchanged.
        removed: files that are removed.
        attached: files that belong to those written, and replace or remove what is there.
        cleared: paths of files where these need a directory.
    """

    base: str
    there: Mapping[str, Entry]
    new: tuple[NewFile, ...]
    over: tuple[NewFile, ...]
    moved: tuple[Move, ...]
    skipped: tuple[str, ...]
    removed: tuple[NewFile, ...] = ()
    attached: tuple[NewFile, ...] = ()
    cleared: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.over or self.moved or self.removed)

    @property
    def files(self) -> tuple[NewFile, ...]:
        """All files that are written."""
        return (*self.new, *self.over)

    @property
    def replaced(self) -> tuple[Replaced, ...]:
        """The entries that are replaced or removed."""
        return tuple(
            Replaced(path=file.path, commit=self.base, oid=self.there[file.path].oid)
            for file in (*self.over, *self.removed)
        )

    def published(self, commit: str) -> Published:
        """The result of the publish, once the commit is on the branch."""
        written = [file.path for file in (*self.files, *self.removed)]
        written += [move.target for move in self.moved]
        return Published(
            commit=commit,
            written=tuple(written),
            skipped=self.skipped,
            replaced=self.replaced,
        )


def batch(clone: Clone, base: str, files: Sequence[NewFile], moves: Sequence[Move]) -> Batch:
    """The files and moves to write on ``base``.

    Raises:
        Conflict: a file is where a directory is needed.
        Misconfigured: a file's path is invalid.
    """
    there = _there(clone, base, _paths_to_know(files, moves), few=not moves)
    own = [file for file in files if not file.beside]
    _refuse_blocked(there, [file for file in own if not file.clears], moves)
    removed = tuple(f for f in paths_checked(own) if f.removed and f.path in there)
    checked = [f for f in paths_checked(own) if not f.removed]
    new = tuple(f for f in checked if f.path not in there)
    over = tuple(f for f in checked if f.path in there and _gives_way(clone, there[f.path], f))
    taken = {f.path for f in new}
    moved = tuple(
        m for m in moves
        if m.source in there and m.target not in there and m.target not in taken
    )  # fmt: skip
    own_paths = {f.path for f in (*new, *over, *removed)}
    going = {m.target for m in moved}
    skipped = [f.path for f in own if f.path not in own_paths]
    skipped += [m.target for m in moves if m.target not in going]
    attached = _attached(files, own_paths, there)
    return Batch(
        base=base,
        there=there,
        new=new,
        over=over,
        moved=moved,
        skipped=tuple(skipped),
        removed=removed,
        attached=attached,
        cleared=tuple(
            sorted(_blocking([*attached, *(f for f in (*new, *over) if f.clears)], there))
        ),
    )


def _there(clone: Clone, base: str, paths: set[str], *, few: bool) -> dict[str, Entry]:
    if few:
        with suppress(by_trees.TooManyNames):
            return by_trees.found(clone, base, paths, limit=by_trees.READ_LIMIT)
    return entries_at(clone, base, paths)


def _attached(
    files: Sequence[NewFile], written: Container[str], there: Mapping[str, Entry]
) -> tuple[NewFile, ...]:
    """The files that belong to a written one; the last of each path, since it is the newest."""
    by_path = {file.path: file for file in files if file.beside and file.beside in written}
    paths_checked(tuple(by_path.values()))
    return tuple(f for f in by_path.values() if not f.removed or f.path in there)


def _blocking(attached: Sequence[NewFile], there: Mapping[str, Entry]) -> set[str]:
    folders = _folders([file.path for file in attached])
    return {path for path in folders if path in there and not there[path].directory}


def paths_checked(files: Sequence[NewFile]) -> list[NewFile]:
    """The files, the first of each path; Misconfigured for what is not a valid path in a
    repository."""
    by_path: dict[str, NewFile] = {}
    for file in files:
        if file.path.startswith("/") or {"", ".", "..", ".git"} & set(file.path.split("/")):
            raise Misconfigured(f"{file.path!r} is not a valid path in a repository")
        by_path.setdefault(file.path, file)
    return list(by_path.values())


def _gives_way(clone: Clone, there: Entry, file: NewFile) -> bool:
    """Whether a file replaces the entry at its path."""
    if file.keeps is None:
        return False
    if not there.regular:
        return True
    data = read(clone, [there.oid], REPLACED_LIMIT)[there.oid]
    return not isinstance(data, bytes) or (data != file.data and not file.keeps(data))


def _paths_to_know(files: Sequence[NewFile], moves: Sequence[Move]) -> set[str]:
    paths = {f.path for f in files} | {m.source for m in moves} | {m.target for m in moves}
    return paths | _folders(paths)


def _folders(paths: Iterable[str]) -> set[str]:
    folders: set[str] = set()
    for path in paths:
        while "/" in path:
            path = path.rpartition("/")[0]  # noqa: PLW2901 - goes up
            folders.add(path)
    return folders


def _refuse_blocked(
    there: Mapping[str, Entry], files: Sequence[NewFile], moves: Sequence[Move]
) -> None:
    """Raise ``Conflict`` if a file is where a directory is needed: fast-import would replace it."""
    for folder in _folders([f.path for f in files] + [m.target for m in moves]):
        if folder in there and not there[folder].directory:
            raise Conflict(
                f"{folder} is not a directory in the ops repository",
                remedy="Remove it, so that results can be written below it.",
            )
