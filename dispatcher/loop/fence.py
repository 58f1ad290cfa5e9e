"""The fence between replacing the rules and claiming under them: no claim is made under rules that
were replaced before it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dispatcher.errors import TemporaryError


class RulesChanged(TemporaryError):
    """The rules changed since the action was judged; it must be judged again."""


class Fence:
    """Counts revisions of the rules. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._revision = 0
        self._claiming = 0

    @property
    def revision(self) -> int:
        """Number of the current rules; grows with each change."""
        return self._revision

    @contextmanager
    def claiming(self, revision: int) -> Iterator[None]:
        """Keep the rules from changing while a claim is written under them.

        Raises:
            RulesChanged: they are no longer those of ``revision``.
        """
        with self._changed:
            self.check(revision)
            self._claiming += 1
        try:
            yield
        finally:
            with self._changed:
                self._claiming -= 1
                self._changed.notify_all()

    def check(self, revision: int) -> None:
        """Raise ``RulesChanged`` unless the rules are those of ``revision``."""
        if revision != self._revision:
            raise RulesChanged("the rules changed while it was being started")

    def advance(self) -> int:
        """Begin a new revision: claims under an older one are refused from now on. Returns when
        the claims in progress are written.
        """
        with self._changed:
            self._revision += 1
            self._changed.wait_for(lambda: self._claiming == 0)
            return self._revision
