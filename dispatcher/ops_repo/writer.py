"""Publishes files to the remote: one commit on the head as last fetched, pushed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from dispatcher.errors import Dependency, Unavailable
from dispatcher.ops_repo.batch import batch
from dispatcher.ops_repo.branch_push import BranchPush, Push
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.committing import Committer
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.output_commits import OutputFile
from dispatcher.ops_repo.packs import NewObject
from dispatcher.ops_repo.push import Blocked, LostRace, Pusher
from dispatcher.ops_repo.records import Move, NewFile, Published
from dispatcher.ops_repo.refs import HEAD
from dispatcher.ops_repo.refusals import BranchExists

if TYPE_CHECKING:
    from tenacity import RetryCallState

TRIES = 30
"""Lost races with other pushes after which a publish is abandoned for now."""

TOGETHER_TRIES = 5
"""Lost races after which output is pushed by itself: its ref, which anybody may move, must not keep
results from the branch."""

LOCK_TRIES = 8
"""Attempts that may meet a lock file of the remote before it counts as stale; with the pauses
between them about three seconds."""


class Writer:
    """Publishes on one clone. Thread-safe.

    Attributes:
        branch: pushes what is published, with what was seen.
    """

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self._git = clone.git
        self._committer = Committer(clone)
        self._pusher = Pusher(clone)
        self.branch = BranchPush(clone, self._pusher)

    def publish(
        self,
        files: Sequence[NewFile],
        moves: Sequence[Move],
        message: str,
        check: Callable[[], None] = lambda: None,
        outputs: Sequence[OutputFile] = (),
    ) -> Published:
        """See ``OpsRepo.publish``."""
        # Only publishing needs it, and every command imports this module.
        from tenacity import RetryError, Retrying, retry_if_exception_type
        from tenacity.wait import wait_random_exponential

        retrying = Retrying(
            retry=retry_if_exception_type(LostRace),
            wait=wait_random_exponential(multiplier=0.02, max=1.0),
            stop=_enough,
        )
        pending = list(outputs)
        try:
            for attempt in retrying:
                with attempt:
                    number = attempt.retry_state.attempt_number
                    if number > 1:
                        self._clone.fetcher.head()
                    together = number <= TOGETHER_TRIES
                    with self.branch.pushing(pending, together=together) as push:
                        return self._once(files, moves, message, check, push)
        except RetryError as given_up:
            lost = given_up.last_attempt.exception()
            if isinstance(lost, LostRace) and lost.lock:
                raise Unavailable(
                    Dependency.REMOTE,
                    f"the ops repository {self._git.where} is locked by the file {lost.lock}",
                    remedy="If no git process is at work there, one was killed: remove the file.",
                ) from None
            raise Unavailable(
                Dependency.REMOTE,
                f"others pushed to {self._git.where} {TRIES} times in a row before us",
            ) from None
        raise AssertionError

    def propose(self, files: Sequence[NewFile], branch: str, message: str) -> str:
        """See ``OpsRepo.propose``."""
        with self._clone.lock.held() as fds:
            commit = self._committer.of_files(self._base(), files, message, fds)
        ref = f"refs/heads/{branch}"
        try:
            self._pusher.push(ref, f"{commit}:{ref}")
        except LostRace:
            raise BranchExists(
                f"{self._git.where} has a branch {branch} already",
                remedy="Look at its pull request, or remove the branch.",
            ) from None
        return commit

    def try_push(self) -> None:
        """See ``OpsRepo.try_push``."""
        commit = self._base()
        branch = f"refs/heads/{self._git.settings.branch}"
        # another push came since the fetch; the remote accepted ours nevertheless
        with suppress(LostRace):
            self._pusher.push(branch, f"{commit}:{branch}", options=("--dry-run",))

    def push_if(self, ref: str, value: str, *, expected: str | None) -> bool:
        """Replace the expected value of a ref (None: no value); False if the remote has another,
        or cannot hold this ref. Raises what ``propose`` raises otherwise.
        """
        lease = f"--force-with-lease={ref}:{expected or ''}"
        try:
            self._pusher.push(ref, f"{value}:{ref}", options=(lease,))
        except (LostRace, Blocked):
            return False
        return True

    def _once(
        self,
        files: Sequence[NewFile],
        moves: Sequence[Move],
        message: str,
        check: Callable[[], None],
        push: Push,
    ) -> Published:
        clone = self._clone
        with clone.lock.held() as fds:
            base = self._base()
            todo = batch(clone, base, files, moves)
            if not todo:
                return todo.published(base)
            made: list[NewObject] = []
            commit = self._committer.of_batch(todo, message, fds, made)
        check()
        push(commit, base, made, check)
        clone.refs.move(HEAD, commit, old=base)
        clone.upkeep.changed()
        return todo.published(commit)

    def _base(self) -> str:
        base = self._clone.refs.value(HEAD)
        if base is None:
            raise GitFailed("fast-import", 0, f"bad object {HEAD}")
        return base


def _enough(state: RetryCallState) -> bool:
    """Whether a publish is abandoned for now."""
    lost = state.outcome.exception() if state.outcome else None
    locked = isinstance(lost, LostRace) and lost.lock
    return state.attempt_number >= (min(LOCK_TRIES, TRIES) if locked else TRIES)
