"""Schedules passes over the archive: one per hour, in steps that run off the loop's thread.

If automatic archiving is off, a pass still reads results to find out which are the newest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from dispatcher.errors import Dependency
from dispatcher.loop.archive import Archive, Pass
from dispatcher.loop.pollers import Pollers
from dispatcher.ops_repo import Tree

INTERVAL_S = 3_600.0
PAUSE_FACTOR = 1.0
"""Pause between two steps, as a multiple of the last step's duration: results and new actions have
precedence on the clone and the remote.
"""

NAME = "archive"


class ArchivePasses:
    """Runs the passes of the archive, one step at a time. Used by the loop's thread only.

    Args:
        archive: does the work.
        pollers: run it.
        led: raises if the lead is no longer held.
        moves: whether pairs are to be moved.
        moved: called on the loop's thread with the number of pairs that a commit moved.
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
        """Seconds until there is something to do; None while a step is in progress."""
        if not self._pollers.free(Dependency.REMOTE, NAME):
            return None
        return max(0.0, self._next_at - time.monotonic())

    def work(self, tree: Tree, *, keep: Collection[str]) -> None:
        """Begin the next step, if it is time.

        Args:
            tree: at the present head.
            keep: ids with an open claim, whose result must stay in place.
        """
        if time.monotonic() < self._next_at or not self._pollers.free(Dependency.REMOTE, NAME):
            return
        if self._pass is None:
            self._pass = self._archive.begin(tree, now=time.time())
        current, keep_ids = self._pass, frozenset(keep)

        def step() -> tuple[int, bool, float]:
            began = time.monotonic()
            moved, more = current.step(keep=keep_ids, check=self._led, moves=self._moves)
            return moved, more, time.monotonic() - began

        self._pollers.run(Dependency.REMOTE, step, lambda done: self._stepped(*done), name=NAME)

    def _stepped(self, moved: int, more: bool, took_s: float) -> None:  # noqa: FBT001
        if not more:
            self._pass = None
        self._next_at = time.monotonic() + (PAUSE_FACTOR * took_s if more else INTERVAL_S)
        if moved:
            self._moved(moved)
