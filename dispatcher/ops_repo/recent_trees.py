"""The directories that were read or written last, in memory: a commit of ours reads the same few, most of
which the one before wrote.

A tree never changes under its hash. That the clone has a commit is asked of the clone itself each time
(``by_trees``), so one that was lost is noticed as before.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

KEPT_BYTES = 1024 * 1024
"""Bytes that all of them may have as git's objects; in memory they take about five times as much."""

_EACH = 256
"""Bytes counted for each besides, as there may be many small ones."""

Names = Mapping[bytes, bytes]
"""The entries of a directory by name, in their order, as a tree has them: mode, name, NUL, hash."""


class RecentTrees:
    """Keeps trees of one clone up to a size, those used last. Thread-safe.

    Args:
        kept_bytes: see ``KEPT_BYTES``.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._limit = kept_bytes
        self._lock = threading.Lock()
        self._trees: dict[str, tuple[Names, int]] = {}
        self._bytes = 0

    def get(self, oid: str) -> tuple[Names, int] | None:
        """The entries and the bytes of a tree; None if it is not kept."""
        with self._lock:
            tree = self._trees.pop(oid, None)
            if tree is not None:
                self._trees[oid] = tree  # used last
            return tree

    def keep(self, oid: str, names: Names, size: int) -> None:
        """Keep a tree, unless it is larger than all of them may be.

        Args:
            names: not to be changed any more.
            size: of the object, in bytes.
        """
        if size + _EACH > self._limit:
            return
        with self._lock:
            if self._trees.pop(oid, None) is None:
                self._bytes += size + _EACH
            self._trees[oid] = (names, size)
            while self._bytes > self._limit:
                _, gone = self._trees.pop(next(iter(self._trees)))
                self._bytes -= gone + _EACH
