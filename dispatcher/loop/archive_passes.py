"""When the archive is worked on: a pass an hour, in steps, each an errand off the loop's thread.

Where nothing is to be moved by itself, a pass reads all the same: it learns which results are new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from dispatcher.errors import Dependency
from dispatcher.loop.archive import Archive, Pass
from dispatcher.loop.pollers import Pollers
from dispatcher.ops_repo import Tree

EVERY_S = 3_600.0
REST = 1.0
"""How much longer than a step took the next one waits: the clone and the remote are for results and
new actions first.
"""

NAME = "archive"


class ArchivePasses:
    """Runs the passes of the archive, one step at a time. Used by the loop's thread only.

    Args:
        archive: what does the work.
        pollers: who runs it.
        led: raises where the lead is not held any more.
        moves: whether pairs are to be moved.
        moved: told how many pairs a commit moved, on the loop's thread.
    """

    def __init__(
        self,
        archive: Archive,
        pollers: Pollers,
        *,
        led: Callable[[], None],
        moves: bool,
        moved: Callable[[int], None],
    ) -> None:
        self._archive, self._pollers = archive, pollers
        self._led, self._moves, self._moved = led, moves, moved
        self._pass: Pass | None = None
        self._next_at = 0.0

    @property
    def newest(self) -> tuple[str, ...] | None:
        """See ``Archive``."""
        return self._archive.newest

    def next_in(self) -> float | None:
        """Seconds until there is something to do; None while a step is under way."""
        if not self._pollers.free(Dependency.REMOTE, NAME):
            return None
        return max(0.0, self._next_at - time.monotonic())

    def work(self, tree: Tree, *, keep: Collection[str]) -> None:
        """Begin the next step, if it is time.

        Args:
            tree: at the present head.
            keep: ids with an open claim, which need their result where it is.
        """
        if time.monotonic() < self._next_at or not self._pollers.free(Dependency.REMOTE, NAME):
            return
        if self._pass is None:
            self._pass = self._archive.begin(tree, now=time.time())
        current, kept = self._pass, frozenset(keep)

        def step() -> tuple[int, bool, float]:
            began = time.monotonic()
            moved, more = current.step(keep=kept, check=self._led, moves=self._moves)
            return moved, more, time.monotonic() - began

        self._pollers.run(Dependency.REMOTE, step, lambda done: self._stepped(*done), name=NAME)

    def _stepped(self, moved: int, more: bool, took_s: float) -> None:  # noqa: FBT001
        if not more:
            self._pass = None
        self._next_at = time.monotonic() + (REST * took_s if more else EVERY_S)
        if moved:
            self._moved(moved)
