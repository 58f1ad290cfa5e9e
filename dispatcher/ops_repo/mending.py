"""Running what needs a clone on one that works."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed, ended_by_signal

T = TypeVar("T")


class Mending:
    """Runs an action on a clone, which is made, or made anew, if need be.

    Args:
        clone: of which the action reads, or which it changes.
    """

    def __init__(self, clone: Clone) -> None:
        self._clone = clone

    def __call__(self, action: Callable[[], T], /) -> T:
        """Run it. A stale lock is removed, a damaged clone made anew, once.

        Raises:
            Unavailable: the clone cannot be mended, or git crashes on what the remote holds.
        """
        self._clone.ensure()
        generation = self._clone.generation
        try:
            return action()
        except GitFailed as failed:
            if failed.stale_lock:
                self._clone.remove_stale_locks()
            elif self._crashed(failed):
                raise ended_by_signal(failed) from None
            elif not self._clone.mend(failed, generation):
                raise self._clone.unusable(failed) from None
        try:
            return action()
        except GitFailed as failed:
            raise self._clone.unusable(failed) from None

    def _crashed(self, failed: GitFailed) -> bool:
        """Whether a signal ended git and the clone is not to blame. SIGBUS is what reading a file
        means that was cut off, such as a pack.
        """
        ended = failed.signal not in ("", "SIGBUS") and not failed.clone_broken
        return ended and self._clone.sound()
