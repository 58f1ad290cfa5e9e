"""The ops repository: what the rest of the dispatcher sees of git."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from dispatcher.model.times import rfc3339
from dispatcher.ops_repo import lineage, reader, rewrites
from dispatcher.ops_repo.changes import Changes, Delta
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed, ended_by_signal
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.lead import LeadRef
from dispatcher.ops_repo.lineage import Lineage
from dispatcher.ops_repo.records import (
    CommitInfo,
    Entry,
    Head,
    Move,
    NewFile,
    Published,
    Seen,
)
from dispatcher.ops_repo.rewrites import Touched, Withdrawn
from dispatcher.ops_repo.signatures import Signature, Signers, verify
from dispatcher.ops_repo.tree import Tree
from dispatcher.ops_repo.viewed import Approach, Loss, Viewed
from dispatcher.ops_repo.writer import Writer
from dispatcher.settings import OpsRepoSettings

T = TypeVar("T")

STEPS = 64
"""Pairs of commits of which is remembered what lies between them."""


class OpsRepo:
    """A bare clone of the ops repository, and the way back to its remote. Thread-safe.

    The clone is made by the first call that needs it. Every method may raise ``Unavailable``
    (remote): a first call, and one that finds the clone damaged, ask the remote. Methods that
    take a commit raise ``Conflict`` where the clone does not have it.

    Args:
        git_dir: the clone; its folder is made. Several processes may share it. What rewritten
            histories withdrew is kept beside it.
        settings: remote, branch, author and time limit.
        credential: gives the token of an HTTPS remote, or None; what it raises is passed on. It
            is asked once, and again after the remote refused.

    Attributes:
        lead: the ref on the remote that says which installation leads.

    Raises:
        Misconfigured: the remote is no address that can be used.
    """

    def __init__(
        self,
        *,
        git_dir: Path,
        settings: OpsRepoSettings,
        credential: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._git = Git(settings, credential)
        self._clone = Clone(git_dir, self._git)
        self._writer = Writer(self._clone)
        self.lead = LeadRef(self._clone, self._writer, mended=self._mended)
        folder = self._clone.path.with_name(rewrites.FOLDER)
        self._withdrawn, self._viewed = Withdrawn(folder), Viewed(folder)
        self._inside: dict[tuple[str, str], bool] = {}
        self._rewrites: dict[tuple[str, str], Touched] = {}

    # --- following the remote ------------------------------------------------------------

    def fetch(self) -> Head:
        """Ask the remote for the branch's head and bring what is new.

        Raises:
            Unavailable: network or remote trouble, or no answer within ``timeout_s``.
            Denied: the remote wants other credentials.
            Misconfigured: no such repository or branch, or it sends malformed objects.
        """
        return self._mended(lambda: self._head(self._clone.fetch_head()))

    def local_head(self) -> Head | None:
        """The head as last fetched, without asking the remote; None where there is no clone."""
        commit = self._clone.ref("refs/disinto/head")
        return None if commit is None else self._mended(lambda: self._head(commit))

    def fetch_ref(self, ref: str) -> str:
        """Bring another ref of the remote, such as ``refs/pull/7/head``; returns its commit.

        Raises:
            Unavailable, Denied, Misconfigured: as ``fetch``; Misconfigured also where the remote
                has no such ref.
        """
        return self._mended(lambda: self._clone.fetch_ref(ref))

    def mark_seen(self, commit: str) -> None:
        """Remember that the consequences of this head are recorded; the next publish tells the
        remote, so that a fresh clone notices a rewritten history as well.

        Raises:
            Misconfigured: what a rewritten history withdrew cannot be written.
        """

        def mark() -> None:
            head = self._head(commit)
            if head.seen and head.rewritten:
                self._withdrawn.record(head.seen, commit, self._taken_back(head.seen, commit))
            self._clone.set_seen(commit)

        self._mended(mark)
        self._writer.seen_changed()

    def approach(self, commit: str, before: Iterable[str], *, unknown: bool = False) -> Approach:
        """Write down what the way to a head took back, before anything is decided on it: what
        commits withdrew that are not in its history, or that nobody can tell what they withdrew.

        Args:
            commit: the head.
            before: heads that decisions were made on, besides the last one of this method.
            unknown: there were others, and nobody knows which.

        Raises:
            Misconfigured: the record cannot be read or written.
            Conflict: the clone does not have the head.
        """
        known = tuple(before)

        def step() -> Approach:
            reader.commit_info(self._clone, commit)
            viewed = self._viewed.head()
            heads = [h for h in dict.fromkeys((*known, viewed)) if h and h != commit]
            lost = tuple(h for h in heads if not self._clone.has_commit(h))
            dropped = tuple(h for h in heads if h not in lost and not self._is_inside(h, commit))
            for old in dropped:
                self._withdrawn.record(old, commit, self._taken_back(old, commit))
            if lost or unknown:
                self._viewed.lose(Loss(head=commit, at=time.time()))
            if viewed != commit:
                self._viewed.write_head(commit)
            return Approach(dropped=dropped, lost=lost)

        return self._mended(step)

    def seen(self) -> Seen:
        """What the clone remembers of ``mark_seen``, and whether the ref is whole."""
        return self._mended(self._clone.seen)

    def remote_seen(self) -> str:
        """The commit that the remote's ``refs/disinto/seen`` names, brought here; "" if there is
        none. Whoever may push may have written it.

        Raises:
            Unavailable: the remote cannot be asked.
        """
        return self._mended(self._clone.fetch_remote_seen)

    def has_commit(self, oid: str) -> bool:
        """Whether the clone has a commit of this hash."""
        return self._mended(lambda: self._clone.has_commit(oid))

    def seen_trouble(self) -> str:
        """Why the remote does not take what is seen along with results; "" while it does."""
        return self._writer.seen_trouble

    def advance(self, tree: Tree, commit: str) -> Changes:
        """Move a tree to a commit, in place: all of it at first, then only what differs."""
        return tree.enter(self.difference(tree, commit))

    def difference(self, tree: Tree, commit: str) -> Delta:
        """The way of a tree to a commit, for ``Tree.enter``; the tree is only read."""
        return self._mended(lambda: reader.difference(self._clone, tree, commit))

    def tree_of(self, commit: str, action_id: str) -> Tree:
        """The part of a commit's tree that concerns one action."""
        return self._mended(lambda: reader.tree_of(self._clone, commit, action_id))

    # --- reading -------------------------------------------------------------------------

    def read(self, blobs: Iterable[str], *, limit: int) -> dict[str, bytes | int]:
        """Contents by blob hash. A blob of more than ``limit`` bytes is not read: its size in
        bytes stands in its place. Give only hashes of regular files and symlinks.
        """
        wanted = tuple(blobs)
        return self._mended(lambda: reader.read(self._clone, wanted, limit))

    def blob_at(self, commit: str, path: str) -> str | None:
        """Hash of the regular file at a path, or None: nothing there, or something else."""
        entry = self.entry_at(commit, path)
        return entry.oid if entry is not None and entry.regular else None

    def entry_at(self, commit: str, path: str) -> Entry | None:
        """Whatever is at a path, with its mode."""
        return self._mended(lambda: reader.entry_at(self._clone, commit, path))

    def commit(self, commit: str) -> CommitInfo:
        """Facts of one commit."""
        return self._mended(lambda: reader.commit_info(self._clone, commit))

    def last_change(self, commit: str, path: str) -> CommitInfo | None:
        """The commit that brought the present content of a path, or None where it never was.

        It is the one that ``git log -1 <commit> -- <path>`` names, without following renames:
        git goes back as long as a parent has the path as it is now, at a merge along the first
        such parent. So the path in the answer is exactly as in ``commit``, and differs from that
        in each of the answer's parents. A merge that holds neither side's version (an "evil
        merge") is itself the answer. A merge that takes over one side unchanged is not: there the
        commit on that side is, also where the side was never meant for this branch. For a path
        that is gone it is the commit that removed it.
        """
        return self._mended(lambda: reader.last_change(self._clone, commit, path))

    def lineage(self, commit: str, path: str) -> Lineage | None:
        """Where the content of a path comes from when merges are not trusted to tell, as
        ``last_change`` does; see ``Lineage``. None where no commit ever touched the path.
        """
        return self._mended(lambda: lineage.lineage(self._text, commit, path))

    def mainline(self, commit: str, *, since: str, limit: int) -> tuple[str, ...]:
        """First-parent chain from ``since`` (with it, first) up to ``commit``: the oldest
        ``limit`` of them; () where ``since`` is not on it.
        """
        return self._mended(lambda: lineage.mainline(self._text, commit, since=since, limit=limit))

    def dropped_results(self, commits: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Results that were deleted or changed anywhere in the history of these commits: blob
        hashes by action id, the latest first. Costs a walk through all of it.

        Raises:
            Unavailable: it takes too long.
        """
        wanted = tuple(commits)
        return self._mended(lambda: reader.dropped_results(self._clone, wanted))

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Whether ``ancestor`` is ``commit`` or in its history. An unknown ancestor is not."""
        return self._mended(lambda: reader.is_ancestor(self._clone, ancestor, commit))

    def withdrawn(self, commit: str, path: str) -> frozenset[str]:
        """Commits (hex) that do not approve a path any more at the head ``commit``: of histories
        that were rewritten, and touched the path in a commit which the rewrite dropped.

        Raises:
            Misconfigured: the records of rewrites cannot be read.
        """

        def now() -> frozenset[str]:
            heads = {self._clone.seen().commit, self._viewed.head()}
            taken = (self._taken_back(h, commit).get(path, frozenset()) for h in heads if h)
            return frozenset().union(*taken)

        return self._withdrawn.commits(path) | self._mended(now)

    def forgotten(self, approval: str, *, at: float | None = None) -> str:
        """Why an approval counts no more because it may have been withdrawn by commits that cannot
        be read, as a clause; "" if it counts.

        Args:
            approval: the commit (hex) that approves.
            at: when it was given, seconds since the epoch; None: the commit's date, which is to be
                trusted no further than whoever signed it.

        Raises:
            Misconfigured: the records of losses cannot be read.
        """

        def judge() -> str:
            viewed = self._viewed.head()
            losses = list(self._viewed.losses())
            if viewed and not self._clone.has_commit(viewed):
                losses.append(Loss(head=viewed, at=time.time()))
            if not losses:
                return ""
            info = reader.commit_info(self._clone, approval)
            given = info.committed_at if at is None else at
            for loss in losses:
                if given <= loss.at or self._is_inside(approval, loss.head):
                    day = rfc3339(loss.at)
                    return (
                        f"what happened on the branch before {day} was lost with the clone, so "
                        "that it may have been withdrawn since"
                    )
            return ""

        return self._mended(judge)

    def losses(self) -> tuple[Loss, ...]:
        """When commits that decisions were made on could not be read any more, the latest last.

        Raises:
            Misconfigured: the records of losses cannot be read.
        """
        return tuple(sorted(self._viewed.losses(), key=lambda loss: loss.at))

    def commits_between(self, base: str, head: str) -> list[CommitInfo]:
        """Commits in the history of ``head`` and not of ``base``, newest first, with merges."""
        return self._mended(lambda: reader.commits_between(self._clone, base, head))

    def signature(self, commit: str, signers: Signers) -> Signature:
        """Who signed a commit, checked against trusted keys; see ``Signature``."""
        return self._mended(lambda: verify(self._clone, commit, signers))

    # --- writing -------------------------------------------------------------------------

    def publish(
        self,
        files: Sequence[NewFile],
        *,
        message: str,
        moves: Sequence[Move] = (),
        check: Callable[[], None] = lambda: None,
    ) -> Published:
        """Add files, and move others, in one commit on the branch, and push it.

        A path that exists on the head it builds on is left as it is and reported as skipped, but
        for a file that says what may be replaced (``NewFile.keeps``; what it raises is passed on).
        If another push came first, the commit is made anew on top of it.

        Args:
            check: called before each try to push; what it raises is passed on, and nothing is
                pushed.

        Raises:
            Unavailable: network or remote trouble, or too many others were faster.
            Denied: credentials; ``PushRefused`` for a hook or a protected branch, with what the
                remote said.
            Conflict: a file is where a folder is needed.
        """
        return self._mended(
            lambda: self._writer.publish(tuple(files), tuple(moves), message, check)
        )

    def propose(self, files: Sequence[NewFile], *, branch: str, message: str) -> str:
        """Add files in one commit on top of the head, and push it as a new branch.

        Returns:
            The commit (hex).

        Raises:
            BranchExists: the remote has such a branch with other commits.
            Unavailable, Denied: as ``publish``.
        """
        return self._mended(lambda: self._writer.propose(tuple(files), branch, message))

    def try_push(self) -> None:
        """See whether the remote would let us push to the branch: a dry run of the head as last
        fetched, which changes nothing.

        It ends where the remote has told its refs to a writer. So it sees wrong credentials, and a
        token or key that may only read. It does not see what is decided when a commit arrives:
        server-side hooks, branch protection, a quota, the file permissions of a remote that is a
        path. Forgejo and Gitea decide only then whether an account may write, since who may read
        may open a pull request by a push.

        Raises:
            Unavailable, Denied, Misconfigured: as ``fetch``.
        """
        self._mended(self._writer.try_push)

    def stop(self) -> None:
        """End what is being asked of the remote, and ask it no more: for a process that ends.
        From now on every such call raises ``Unavailable``.
        """
        self._git.conversations.stop()

    def close(self) -> None:
        """End the processes kept for reading. The object may be used again."""
        self._clone.close()

    # --- inside --------------------------------------------------------------------------

    def _text(self, *args: str) -> str:
        return self._git.run(self._clone.path, *args).out.decode("utf-8", "replace")

    def _head(self, commit: str) -> Head:
        known = self._clone.seen()
        seen = known.names or known.commit or None
        if seen is None or seen == commit:
            return Head(commit=commit, seen=seen, rewritten=False)
        inside = bool(known.commit) and self._is_inside(seen, commit)
        return Head(
            commit=commit,
            seen=seen,
            rewritten=not inside,
            seen_readable=bool(known.commit),
        )

    def _is_inside(self, old: str, new: str) -> bool:
        """Whether ``old`` is ``new`` or in its history; False if the clone lacks either."""
        if old == new:
            return True
        step = (old, new)
        if step not in self._inside:
            if not (self._clone.has_commit(old) and self._clone.has_commit(new)):
                return False
            if len(self._inside) >= STEPS:
                self._inside.clear()
            self._inside[step] = reader.is_ancestor(self._clone, old, new)
        return self._inside[step]

    def _taken_back(self, old: str, new: str) -> Touched:
        """What the step from one head to another withdraws, if that is a rewrite."""
        if not self._clone.has_commit(old) or self._is_inside(old, new):
            return {}
        step = (old, new)
        if step not in self._rewrites:
            self._rewrites = {step: rewrites.withdrawn_by(self._clone, *step)}
        return self._rewrites[step]

    def _crashed(self, failed: GitFailed) -> bool:
        """Whether a signal ended git and the clone is not to blame. SIGBUS is what reading a file
        means that was cut off, such as a pack.
        """
        ended = failed.signal not in ("", "SIGBUS") and not failed.clone_broken
        return ended and self._clone.sound()

    def _mended(self, action: Callable[[], T]) -> T:
        """Run on a clone that works: a stale lock is removed, a damaged clone made anew, once."""
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
