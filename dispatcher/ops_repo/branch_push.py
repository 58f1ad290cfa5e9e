"""Pushes results to the branch, together with ``refs/disinto/seen``."""

from __future__ import annotations

import time
from collections.abc import Callable

from dispatcher.errors import Denied, Unavailable
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.push import LostRace, Pusher
from dispatcher.ops_repo.refs import SEEN

SEEN_PAUSES_S = (60.0, 3_600.0)
"""First and longest pause before ``refs/disinto/seen`` is pushed again to a remote that refused it."""


class _Companion:
    """A ref that is pushed along with results and must never block them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause_s, self._again_at = 0.0, 0.0
        self.trouble = ""

    @property
    def resting(self) -> bool:
        """Whether it was rejected recently."""
        return self._clock() < self._again_at

    def refused(self, reason: str) -> None:
        """Record that the remote accepted the branch without it."""
        first, longest = SEEN_PAUSES_S
        self._pause_s = min(longest, self._pause_s * 2 or first)
        self._again_at = self._clock() + self._pause_s
        self.trouble = reason

    def taken(self) -> None:
        """Record that it was pushed."""
        self._pause_s, self._again_at, self.trouble = 0.0, 0.0, ""


class BranchPush:
    """Pushes our commits to the branch, with ``refs/disinto/seen`` if the remote accepts it."""

    def __init__(self, clone: Clone, pusher: Pusher) -> None:
        self._clone, self._pusher = clone, pusher
        self._follows = False
        self._seen_waits = False
        self._seen = _Companion()

    @property
    def seen_trouble(self) -> str:
        """Why the remote rejects ``refs/disinto/seen``, in its own words; "" while it does not."""
        return self._seen.trouble

    def seen_changed(self) -> None:
        """Include ``refs/disinto/seen`` in the next push. Without this call it is never pushed."""
        self._follows = True
        self._seen_waits = True

    def push(self, commit: str, base: str) -> None:
        """Push a commit, and ``refs/disinto/seen`` with it.

        Where all of ``base`` was seen, the commit is as well: it holds nothing but our own files.
        A remote that does not take what was seen gets the branch without it: results come first.
        Both or none is asked for first, so that what was seen is always on the branch.

        Raises:
            LostRace, and what ``Git.ask`` raises.
        """
        branch = f"refs/heads/{self._clone.git.settings.branch}"
        companion = self._seen_with(commit, base)
        if companion is None:
            self._pusher.push(branch, f"{commit}:{branch}")
            return
        try:
            self._pusher.push(
                branch, f"{commit}:{branch}", f"+{companion}:{SEEN}", options=("--atomic",)
            )
        except LostRace as lost:
            if not lost.lock:
                raise
            refused = f"it is locked by the file {lost.lock}"
        except (Denied, Unavailable) as error:
            refused = error.what
        else:
            self._seen_waits = False
            self._seen.taken()
            return
        # Which of the two was meant? What refuses the branch alone says so.
        self._pusher.push(branch, f"{commit}:{branch}")
        self._seen.refused(refused)

    def _seen_with(self, commit: str, base: str) -> str | None:
        if self._seen.resting or not self._follows:
            return None
        seen_commit = self._clone.refs.value(SEEN)
        if seen_commit == base:
            return commit
        return seen_commit if self._seen_waits else None
