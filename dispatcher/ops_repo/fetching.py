"""Fetches the remote's refs into the clone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dispatcher.errors import Denied, Misconfigured, Unavailable
from dispatcher.ops_repo.clone_lock import CloneLock
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.kept_helper import KeptHelper, LeftToGit
from dispatcher.ops_repo.objects import Objects
from dispatcher.ops_repo.records import is_oid
from dispatcher.ops_repo.refs import ASKED, HEAD, LEAD, LEAD_FOUND, REMOTE_SEEN, SEEN, Refs
from dispatcher.ops_repo.transport import Transport
from dispatcher.ops_repo.upkeep import Upkeep


class Fetcher:
    """Fetches refs of the remote into one clone. Thread-safe.

    Attributes:
        lead_strayed: whether a fetch since ``watch_lead`` found another value in the remote's lead.
    """

    def __init__(
        self,
        path: Path,
        git: Git,
        *,
        lock: CloneLock,
        refs: Refs,
        upkeep: Upkeep,
        objects: Objects,
    ) -> None:
        self._path, self._git, self._objects = path, git, objects
        self._helper = KeptHelper(path, git) if git.transport is Transport.HTTP else None
        self._lock, self._refs, self._upkeep = lock, refs, upkeep
        self._lead_ours: str | None = None
        self._lead_failed = False
        self.lead_strayed = False

    def head(self) -> str:
        """Fetch the branch; returns its head.

        For a path, ``fetch-pack`` is used: with nothing new it costs as little as ``ls-remote``,
        and it omits the walk over the entire tree by which ``fetch`` verifies that nothing is
        missing (45 ms beside 100,000 archived actions). Arriving objects and the links between
        them are checked all the same, by ``fetch.fsckObjects``. Over a network one round trip
        matters more, and ``fetch`` needs one connection fewer.
        """
        branch = f"refs/heads/{self._git.settings.branch}"
        with self._lock.held() as fds:
            head = self._refs.value(HEAD)
            commit = self._bring_with_lead(branch, fds)
            if commit is None:
                self._fetch(fds, f"+{branch}:{HEAD}")
                commit = self._refs.value(HEAD)
            if commit is None:
                raise GitFailed("fetch", 0, f"bad object {HEAD}")
            if commit != head:
                self._upkeep.changed()
            return commit

    def unmoved(self, commit: str, *, timeout_s: float) -> bool:
        """Whether the remote's branch is at this commit, and its lead as the last fetch found it; fetches
        nothing and changes nothing. Errors as ``head``.
        """
        branch = f"refs/heads/{self._git.settings.branch}"
        lead = {} if self._lead_ours is None else {LEAD: self._lead_ours}
        expected = {branch: commit, **lead}
        done = self._git.ask(
            self._path,
            "ls-remote",
            "--quiet",
            *self._git.path_options("fetch"),
            "--",
            self._git.remote,
            *expected,
            timeout_s=timeout_s,
        )
        lines = (line.partition("\t") for line in done.line.splitlines())
        values = {ref: value for value, _, ref in lines}
        return all(values.get(ref) == value for ref, value in expected.items())

    def ref(self, ref: str) -> str:
        """Fetch any other ref of the remote; returns its commit. Errors as ``head``."""
        with self._lock.held() as fds:
            self.bring(ref, ASKED, fds)
            return self._refs.value(ASKED) or ""

    def remote_seen(self) -> str:
        """Fetch the remote's ``refs/disinto/seen``; returns its commit, or "" if there is no
        usable one.

        Raises:
            Unavailable: the remote cannot be reached.
        """
        with self._lock.held() as fds:
            try:
                self.bring(SEEN, REMOTE_SEEN, fds)
            except (Misconfigured, Denied):
                return ""  # there is none, or its target is malformed
            return self._refs.commit(REMOTE_SEEN)

    def bring(self, ref: str, local_ref: str, fds: Sequence[int]) -> None:
        """Fetch one ref of the remote into one of ours. Errors as ``ref``."""
        self._fetch(fds, f"+{ref}:{local_ref}")

    def close(self) -> None:
        """End the process kept for fetching; the next fetch starts another."""
        if self._helper is not None:
            self._helper.close()

    def watch_lead(self, value: str | None) -> None:
        """From now on each fetch checks whether the remote's lead has this value; see
        ``lead_strayed``. None: it is not checked.
        """
        self._lead_ours, self._lead_failed, self.lead_strayed = value, False, False

    def _bring_with_lead(self, branch: str, fds: Sequence[int]) -> str | None:
        """Fetch the branch, and check in the same command whether the lead is ours. Whatever that
        ref contains, the branch is fetched: at the second attempt without it.
        """
        local_ref = self._lead_ours
        if local_ref is None or self.lead_strayed or self._lead_failed:
            commit = self._bring(branch, (), fds)[0]
            self.lead_strayed = self.lead_strayed or self._lead_failed
            self._lead_failed = False
            return commit
        try:
            commit, lead = self._bring(branch, (LEAD,), fds)
        except Unavailable:
            self._lead_failed = True  # the remote is unavailable, or hangs on what the ref holds
            raise
        except (Denied, Misconfigured):
            commit, lead = self._bring(branch, (), fds)[0], None
        self.lead_strayed = lead != local_ref
        return commit

    def _bring(
        self, branch: str, more: Sequence[str], fds: Sequence[int]
    ) -> tuple[str | None, ...]:
        """Fetch the branch into ``HEAD``, and another ref if there is ``more``; returns their
        values."""
        if self._git.transport is Transport.PATH:
            values = self._fetch_pack((branch, *more), fds)
            if values[0] != (head := self._refs.value(HEAD)):
                self._refs.move(HEAD, values[0], old=head)
            return tuple(values)
        if (found := self._by_helper(branch, more, fds)) is not None:
            return found
        self._fetch(fds, f"+{branch}:{HEAD}", *(f"+{ref}:{LEAD_FOUND}" for ref in more))
        return (self._refs.value(HEAD), *(self._refs.value(LEAD_FOUND) for _ in more))

    def _by_helper(
        self, branch: str, more: Sequence[str], fds: Sequence[int]
    ) -> tuple[str, ...] | None:
        """The same by the kept helper, if the branch was merely continued and the lead is ours; None if
        ``git fetch`` has to do it.
        """
        head = self._refs.value(HEAD)
        if self._helper is None or head is None:
            return None
        try:
            values = self._helper.values((branch, *more), like=head)
            commit = values.get(branch)
            if commit is None or any(values.get(ref) != self._lead_ours for ref in more):
                return None
            if commit != head:
                self._follow(self._helper, commit, head, fds)
        except LeftToGit:
            return None
        return (commit, *(values[ref] for ref in more))

    def _follow(self, helper: KeptHelper, commit: str, head: str, fds: Sequence[int]) -> None:
        """Bring a commit, and point ``HEAD`` at it.

        Raises:
            LeftToGit: see there.
        """
        if self._objects.has_commit(commit):
            raise LeftToGit  # whether its whole history is here is for git to find out
        helper.bring(commit, have=head, keep_fds=fds)
        if not self._objects.has_commit(commit):
            helper.distrust()
            raise LeftToGit
        if not self._refs.move(HEAD, commit, old=head):
            raise LeftToGit

    def _fetch_pack(self, refs: Sequence[str], fds: Sequence[int]) -> list[str]:
        """Fetch refs with ``fetch-pack``, which changes none of ours; returns their values."""
        done = self._git.ask(
            self._path,
            "fetch-pack",
            "--quiet",
            "--no-progress",
            *self._git.path_options("fetch"),
            self._git.remote,
            *refs,
            # Packs of this size and above would be left with a .keep file; git 2.39 dies of it.
            config={"fetch.unpackLimit": str(2**31 - 1)},
            keep_fds=fds,
        )
        advertised = {
            ref: value for value, _, ref in (x.partition(" ") for x in done.line.splitlines())
        }
        for ref in refs:
            if not is_oid(advertised.get(ref, "")):
                raise Misconfigured(f"the ops repository did not report the value of {ref}")
        return [advertised[ref] for ref in refs]

    def _fetch(self, fds: Sequence[int], *refspecs: str) -> None:
        self._git.ask(
            self._path,
            "fetch",
            "--quiet",
            "--no-progress",
            "--no-tags",
            "--no-write-fetch-head",
            *self._git.path_options("fetch"),
            "--",
            self._git.remote,
            *refspecs,
            keep_fds=fds,
        )
