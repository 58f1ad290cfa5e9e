"""Finds commits whose message approves the present content of a file: with ``signed``, how a second
person approves what a first one approved, without changing the file.

Such a commit names the file's blob, and its tree has that blob at the file's path. So it approves
nothing else, whatever it is rebased onto. Whether it is signed is for ``dispatcher.gate.signed``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from dispatcher.gate.history import SignedHistory
from dispatcher.ops_repo.lineage import Lineage

LIMIT = 100
"""Signed commits that are considered for one content, the first to arrive: a push cannot crowd out
what is there."""

REMEMBERED = 2_000

_Key = tuple[str, str, str]


class ApprovalCommits:
    """Caches what was found, so that a new head costs only what is new. Thread-safe.

    Args:
        history: of the ops repo.
    """

    def __init__(self, history: SignedHistory) -> None:
        self._history = history
        self._lock = threading.Lock()
        self._found: OrderedDict[_Key, tuple[str, tuple[str, ...]]] = OrderedDict()

    def of(self, lineage: Lineage, *, path: str, blob: str, head: str) -> Sequence[str]:
        """Signed commits (hex) after the last change of a file that name its blob and contain it, in
        the order of the branch's first-parent history; ``LIMIT`` at most.
        """
        last = lineage.last.sha
        key = (path, blob, last)
        with self._lock:
            since, before = self._found.get(key, (last, ()))
        if since == head:
            return before
        if since != last and not self._history.is_ancestor(since, head):
            since, before = last, ()  # the branch was rewritten
        naming = self._history.naming(blob, since=since, commit=head)
        valid = [c for c in naming if self._fits(c, last=last, path=path, blob=blob)]
        found = (*before, *valid)[:LIMIT]
        with self._lock:
            self._found[key] = (head, found)
            self._found.move_to_end(key)
            if len(self._found) > REMEMBERED:
                self._found.popitem(last=False)
        return found

    def _fits(self, commit: str, *, last: str, path: str, blob: str) -> bool:
        return self._history.blob_at(commit, path) == blob and self._history.is_ancestor(
            last, commit
        )
