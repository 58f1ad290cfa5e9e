"""Pushes refs, each by its exact name, and interprets a remote's rejection."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from dispatcher.errors import Denied, Dependency
from dispatcher.ops_repo import failure
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.refs import PUSH
from dispatcher.ops_repo.refusals import PushRefused, Why, refusal

_PUSHES = itertools.count(1)

_PROCESS = secrets.token_hex(8)
"""Part of the names of our refs while they are pushed. Everything below such a name is pushed, and a process
that is killed leaves it: in a container, the next one has the same process id.
"""

_CONFIG = {"pack.threads": "1"}
"""git's configuration for a push: threads take longer to start than what we push takes to pack."""


class LostRace(Exception):
    """Another push came first, or is in progress and holds a lock file.

    Attributes:
        lock: the lock file, or "".
    """

    def __init__(self, lock: str = "") -> None:
        super().__init__(lock)
        self.lock = lock


class Blocked(Denied):
    """The remote cannot hold a ref of this name because of another that it has."""


class Pusher:
    """Pushes refs of one clone to its remote. Thread-safe; it does not block fetches.

    Args:
        scratch: the clone is used for nothing else, and removed after the push.
    """

    def __init__(self, clone: Clone, *, scratch: bool = False) -> None:
        self._clone, self._scratch = clone, scratch
        self._git = clone.git

    def push(self, branch: str, *refspecs: str, options: Sequence[str] = ()) -> None:
        """Push refs, of which ``branch`` is the essential one.

        Raises:
            LostRace: another push came first.
            Blocked: see there.
            NotWritable: the remote can store nothing at the moment.
            Denied: the remote refused it; and what ``Git.ask`` raises.
        """
        with self._exactly(refspecs) as exact:
            done = self._git.ask(
                self._clone.path, "push", "--porcelain", "--no-verify",
                *self._git.path_options("push"), *options, "--", self._git.remote, *exact,
                ok=(0, 1), config=_CONFIG,
            )  # fmt: skip
        lines = [x.split("\t") for x in done.line.splitlines() if x.count("\t") == 2]
        status = {
            names.rpartition(":")[2]: (flag.strip(), summary) for flag, names, summary in lines
        }
        refused = {ref: summary for ref, (flag, summary) in status.items() if flag == "!"}
        if status and branch in status and not refused:
            return
        if not status:
            failed = GitFailed("push", done.code, done.err)
            if failed.clone_broken:
                raise failed
            raise self._git.meaning(failed)
        self._raise(branch, refused, done.err)

    @contextmanager
    def _exactly(self, refspecs: Iterable[str]) -> Iterator[list[str]]:
        """The same refspecs with patterns, for as long as the block takes. git takes the right side
        of a plain one for the end of a name: beside a branch called ``refs/heads/main``, which
        anybody may push, ``refs/heads/main`` would be ambiguous and every push refused. The right
        side of a pattern is the whole name.
        """
        space = f"{PUSH}{os.getpid()}-{_PROCESS}-{next(_PUSHES)}"
        refs, exact = {}, []
        for refspec in refspecs:
            value, _, target = refspec.rpartition(":")
            kind = "forced" if value.startswith("+") else "plain"
            refs[f"{space}/{kind}/{target.removeprefix('refs/')}"] = value.removeprefix("+")
            pattern = f"{'+' * (kind == 'forced')}{space}/{kind}/*:refs/*"
            exact += [pattern] if pattern not in exact else []
        if self._scratch:
            self._clone.refs.set_only(refs)
            yield exact
            return
        self._clone.refs.set_all(refs)
        try:
            yield exact
        finally:
            self._drop(refs)

    def _drop(self, refs: Iterable[str]) -> None:
        """Remove refs of ours. The push has succeeded: a failure here must not look like one of
        the push. The next command notices a damaged clone.
        """
        gone = dict.fromkeys(refs, "")
        with suppress(GitFailed):
            try:
                self._clone.refs.set_all(gone)
            except GitFailed as failed:
                if not failed.stale_lock:
                    raise
                self._clone.remove_stale_locks()
                self._clone.refs.set_all(gone)

    def _raise(self, branch: str, refused: Mapping[str, str], err: str) -> None:
        """Raise the error for the refs that were not pushed; the branch's comes first."""
        refusals = {ref: refusal(summary, err) for ref, summary in refused.items()}
        of_branch = refusals.get(branch)
        if of_branch is not None and of_branch.why is Why.RACE and len(refusals) == 1:
            raise LostRace
        whose = next((r for r in refusals.values() if r.why is not Why.RACE), None)
        if whose is None:
            raise LostRace
        if whose.why is Why.LOCKED:
            raise LostRace(whose.detail)
        if whose.why is Why.NOT_WRITABLE:
            raise failure.not_writable(self._git.where, whose.detail)
        refs = " and ".join(sorted(ref.removeprefix("refs/heads/") for ref in refusals))
        kind = Blocked if whose.why is Why.BLOCKED else PushRefused
        raise kind(
            Dependency.REMOTE,
            f"the ops repository {self._git.where} refused the push to {refs}: {whose.detail}",
            remedy="Check hooks, branch protection and the permissions of the dispatcher's token "
            "or key.",
        )
