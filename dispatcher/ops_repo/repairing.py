"""Actions on the clone, which is rebuilt if it is damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed, ended_by_signal

T = TypeVar("T")


class Repairing:
    """Runs an action on a clone, which is created or rebuilt if necessary.

    Args:
        clone: what the action reads or changes.
    """

    def __init__(self, clone: Clone) -> None:
        self._clone = clone

    def __call__(self, action: Callable[[], T], /) -> T:
        """Run it. Once, a stale lock is removed or a damaged clone rebuilt.

        Raises:
            Unavailable: the disk is full, the clone cannot be repaired, or git crashes on what the remote holds.
        """
        self._clone.ensure()
        generation = self._clone.generation
        try:
            return action()
        except GitFailed as failed:
            if failed.no_room:  # neither would a new clone have any
                raise self._clone.full(failed) from None
            if failed.stale_lock:
                self._clone.remove_stale_locks()
            elif self._crashed(failed):
                raise ended_by_signal(failed) from None
            elif not self._clone.repair(failed, generation):
                raise self._clone.unusable(failed) from None
        try:
            return action()
        except GitFailed as failed:
            raise self._clone.unusable(failed) from None

    def _crashed(self, failed: GitFailed) -> bool:
        """Whether a signal ended git and the clone is not to blame. SIGBUS means
        that a truncated file was read, such as a pack.
        """
        ended = failed.signal not in ("", "SIGBUS") and not failed.clone_broken
        return ended and self._clone.sound()
