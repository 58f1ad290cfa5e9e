"""Pushes results to the branch, together with ``refs/disinto/seen`` and the whole output of runs.

A result names its output. So the output is pushed together with it, both or neither, or before it:
a result never names what was not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from dispatcher.errors import Denied, Misconfigured, Unavailable
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.direct_push import DirectPush, LeftToGit, Update
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.output_commits import OutputFile, Prepared
from dispatcher.ops_repo.output_refs import OutputRefs
from dispatcher.ops_repo.packs import NewObject
from dispatcher.ops_repo.push import Blocked, LostRace, Pusher
from dispatcher.ops_repo.refs import SEEN
from dispatcher.ops_repo.refusals import NotWritable, OutputsRefused, PushRefused

SEEN_PAUSES_S = (60.0, 3_600.0)
"""First and longest pause before ``refs/disinto/seen`` is pushed again to a remote that refused it."""


Check = Callable[[], None]
"""Raises if nothing may be written any more."""

Push = Callable[[str, str, Sequence[NewObject], Check], None]
"""Pushes a commit on its base. The third argument is all that the commit brings; empty if it is unknown. The
last was called before, and is called again before each further attempt.
"""


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
    """Pushes our commits to the branch, with ``refs/disinto/seen`` if the remote accepts it.

    Attributes:
        outputs: the refs with the output of runs.
        direct: pushes without ``git push``, where that is possible.
    """

    def __init__(self, clone: Clone, pusher: Pusher) -> None:
        self._clone, self._pusher = clone, pusher
        self.direct = DirectPush(clone.git)
        self.outputs = OutputRefs(clone)
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

    @contextmanager
    def pushing(self, files: list[OutputFile], *, together: bool = True) -> Iterator[Push]:
        """Yields what pushes a commit on its base: with the output that its results name, whose own
        commit is made first. It raises ``OutputsRefused`` if the remote does not take that, and
        the commit was not pushed; besides that what ``push`` raises.

        Args:
            files: of output; emptied once they are on the remote.
            together: in one push, if the remote takes that; else the files first.

        Raises:
            OutputsRefused: a file cannot be read.
            NotWritable: the disk is full.
        """
        if not files:
            yield self.push
            return
        with self.outputs.prepared(files, direct=together and self.direct.usable) as prepared:
            yield lambda commit, base, made, check: self.push_with(
                commit, base, made, check, files=files, prepared=prepared, together=together
            )

    def push_with(
        self,
        commit: str,
        base: str,
        made: Sequence[NewObject],
        check: Check,
        *,
        files: list[OutputFile],
        prepared: Prepared,
        together: bool,
    ) -> None:
        """See ``pushing``.

        Args:
            prepared: of the files.
        """
        if together:
            if self._pushed_together(commit, base, made, check, prepared):
                files.clear()
                return
            check()
        self._push_alone(prepared, base, last=not together)
        files.clear()
        check()
        self.push(commit, base, made, check)

    def _pushed_together(
        self, commit: str, base: str, made: Sequence[NewObject], check: Check, prepared: Prepared
    ) -> bool:
        """Whether one push took all. If not, it may be for any of the refs."""
        branch = f"refs/heads/{self._clone.git.settings.branch}"
        companion = self._seen_with(commit, base)
        seen = (f"+{companion}:{SEEN}",) if companion else ()
        try:
            if not self._directly(
                commit, base, made, check, companion=companion, prepared=prepared
            ):
                prepared.pusher.push(
                    branch,
                    f"{commit}:{branch}",
                    *prepared.refspecs,
                    *seen,
                    options=("--atomic", *prepared.leases),
                )
        except LostRace as lost:
            if lost.lock:
                return False
            self.outputs.look_again([month.ref for month in prepared.months])
            raise
        except NotWritable:
            raise  # not for any of the refs
        except (Denied, Unavailable, Misconfigured, GitFailed):
            return False
        self.outputs.stored(prepared)
        if companion is not None:
            self._seen_waits = False
            self._seen.taken()
        return True

    def _push_alone(self, prepared: Prepared, base: str, *, last: bool) -> None:
        """Push the output.

        Args:
            last: whether a lost race is a refusal; else it is raised, to try again on what is there.
        """
        branch = f"refs/heads/{self._clone.git.settings.branch}"
        try:
            self.outputs.push_alone(prepared)
        except LostRace as lost:
            if not last and not lost.lock:
                self.outputs.look_again([month.ref for month in prepared.months])
                raise
            why = (
                f"it is locked by the file {lost.lock}" if lost.lock else "others keep changing it"
            )
        except GitFailed as failed:
            why = failed.reason
        except (PushRefused, Blocked) as error:
            why = error.what
        except NotWritable:
            raise  # the branch neither: both wait, and nothing is lost
        except (Denied, Misconfigured, Unavailable) as error:
            with suppress(LostRace):  # raises anything else if it is not this ref's fault
                self._pusher.push(branch, f"{base}:{branch}", options=("--dry-run",))
            why = error.what
        else:
            self.outputs.stored(prepared)
            return
        self.outputs.forget()
        raise OutputsRefused(why)

    def _directly(
        self,
        commit: str,
        base: str,
        made: Sequence[NewObject],
        check: Check,
        *,
        companion: str | None,
        prepared: Prepared | None = None,
    ) -> bool:
        """Whether all of it is on the remote, without ``git push``. If that was tried in vain, it was checked
        again whether anything may be written.
        """
        if not made or (prepared is not None and not prepared.objects):
            return False
        updates = [
            Update(ref=f"refs/heads/{self._clone.git.settings.branch}", old=base, new=commit)
        ]
        if prepared is not None:
            updates += [
                Update(ref=month.ref, old=month.expected, new=month.commit)
                for month in prepared.months
            ]
        if companion is not None:
            updates.append(Update(ref=SEEN, old=None, new=companion))
        try:
            self.direct.push(updates, [*made, *(prepared.objects if prepared else ())])
        except LeftToGit:
            check()
            return False
        return True

    def push(self, commit: str, base: str, made: Sequence[NewObject], check: Check) -> None:
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
            if not self._directly(commit, base, made, check, companion=companion):
                self._pusher.push(branch, f"{commit}:{branch}")
            return
        try:
            if not self._directly(commit, base, made, check, companion=companion):
                self._pusher.push(
                    branch, f"{commit}:{branch}", f"+{companion}:{SEEN}", options=("--atomic",)
                )
        except LostRace as lost:
            if not lost.lock:
                raise
            refused = f"it is locked by the file {lost.lock}"
        except NotWritable:
            raise  # not for any of the two
        except (Denied, Unavailable) as error:
            refused = error.what
        else:
            self._seen_waits = False
            self._seen.taken()
            return
        # Which of the two was meant? What refuses the branch alone says so.
        check()
        self._pusher.push(branch, f"{commit}:{branch}")
        self._seen.refused(refused)

    def _seen_with(self, commit: str, base: str) -> str | None:
        if self._seen.resting or not self._follows:
            return None
        seen_commit = self._clone.refs.value(SEEN)
        if seen_commit == base:
            return commit
        return seen_commit if self._seen_waits else None
