"""Records of rewritten histories: approvals whose withdrawal a rewrite dropped.

git forgets what a force-push drops. If that was the deletion of an action, or a newer version of a
formula, the older one is back, and so is the signed commit that once approved it. So whenever the
branch is rewritten, the commits of the old history are kept here that touched a file which a dropped
commit touched: none of them approves that file any more. Hashes are kept, not objects, because
nothing holds the dropped objects for long.

Each rewrite is one file of its own, ``<old>-<new>.json`` in the directory, written atomically
before anything is decided on the new head; see ``viewed``.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from dispatcher.errors import Misconfigured
from dispatcher.host.durable import sync_directory
from dispatcher.model.formula_files import formula_of_schema
from dispatcher.model.paths import FORMULAS_PATH, JUDGED, RESULT_ENDING
from dispatcher.model.run import FormulaKind
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.history import changes

FOLDER = "withdrawn-approvals"
"""Name of the directory, beside the clone."""

_SYNCED: set[Path] = set()
"""Directories whose own names this process made durable."""

Touched = Mapping[str, frozenset[str]]
"""Commits (hex) that touched a file, by its path."""


def withdrawn_by(clone: Clone, old: str, new: str) -> Touched:
    """Commits that approve a file no longer once the branch went from ``old`` to ``new``.

    A formula whose schema lost a change there is one of these files: without it, it may be what was
    approved before there was a schema.
    """
    dropped = _touched(clone, (f"^{new}", old))
    paths = {path for path in dropped if not path.endswith(RESULT_ENDING)}
    paths |= {formula for path in paths for formula in _described_by(path)}
    if not paths:
        return {}
    return {path: commits for path, commits in _touched(clone, (old,)).items() if path in paths}


def _described_by(path: str) -> tuple[str, ...]:
    """The paths that a formula may have whose schema this is; () for any other file."""
    directory, _, name = path.rpartition("/")
    formula = formula_of_schema(name) if directory == FORMULAS_PATH else ""
    return tuple(f"{directory}/{formula}.{kind}" for kind in FormulaKind) if formula else ()


def _touched(clone: Clone, revisions: Sequence[str]) -> Touched:
    """Every commit in which a file differs from any parent, merges included."""
    touched: dict[str, set[str]] = {}
    for change in changes(clone, revisions, JUDGED):
        sides = (change.difference.old, change.difference.new)
        if any(entry is not None and not entry.directory for entry in sides):
            touched.setdefault(change.path, set()).add(change.commit)
    return {path: frozenset(commits) for path, commits in touched.items()}


class Withdrawn:
    """The records of all rewrites. Thread-safe; several processes may read the directory.

    Args:
        folder: see ``FOLDER``; created when the first rewrite is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._read: dict[str, Touched] = {}

    def record(self, old: str, new: str, touched: Touched) -> None:
        """Record what a rewrite withdrew; durable on return. Idempotent.

        Raises:
            Misconfigured: the directory cannot be written.
        """
        if not touched:
            return
        text = json.dumps({path: sorted(commits) for path, commits in touched.items()})
        write(self._folder / f"{old}-{new}.json", text)

    def commits(self, path: str) -> frozenset[str]:
        """Commits (hex) that no longer approve a file.

        Raises:
            ValueError: it is in none of the directories of ``JUDGED``, so that nothing is on record.
            Misconfigured: a record cannot be read, so that the withdrawals are unknown.
        """
        if path.rpartition("/")[0] not in JUDGED:
            raise ValueError(f"nothing records which approvals of {path} a rewrite withdrew")
        with self._lock:
            for name in names(self._folder, ".json"):
                if name not in self._read:
                    self._read[name] = _load(self._folder / name)
            return frozenset().union(*(touched.get(path, ()) for touched in self._read.values()))


def write(file: Path, text: str) -> None:
    """Write a file of the directory atomically; durable on return.

    Raises:
        Misconfigured: it cannot be written.
    """
    folder = file.parent
    try:
        if not folder.exists():
            _SYNCED.discard(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(prefix=".new-", dir=folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(unfinished).replace(file)
        finally:
            Path(unfinished).unlink(missing_ok=True)
        sync_directory(folder)
        if folder not in _SYNCED:  # its own name, whichever process made it
            sync_directory(folder.parent)
            _SYNCED.add(folder)
    except OSError as failed:
        raise Misconfigured(
            f"{folder} cannot be written: {failed.strerror}",
            remedy="Check `state_dir`, its owner and the space left.",
        ) from failed


def names(folder: Path, suffix: str) -> list[str]:
    """Files of the directory with this ending; none if there is no such directory.

    Raises:
        Misconfigured: it cannot be read.
    """
    try:
        return [file.name for file in folder.iterdir() if file.suffix == suffix]
    except FileNotFoundError:
        return []
    except OSError as failed:
        raise Misconfigured(
            f"{folder} cannot be read: {failed.strerror}",
            remedy="Let the dispatcher's user read it: it records which approvals were withdrawn.",
        ) from failed


def _load(file: Path) -> Touched:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return {path: frozenset(commits) for path, commits in data.items()}
    except (OSError, ValueError, AttributeError, TypeError) as failed:
        raise Misconfigured(
            f"{file} cannot be read: it records which approvals a rewritten history withdrew",
            remedy="Restore it; or, if every action that waits has been reviewed, remove it.",
        ) from failed
