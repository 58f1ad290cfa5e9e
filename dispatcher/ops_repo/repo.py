"""The interface to the ops repository for the rest of the dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dispatcher.ops_repo import arrival_dates
from dispatcher.ops_repo.arrival_dates import ArrivalDates
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.lead import LeadRef
from dispatcher.ops_repo.lineage import Change
from dispatcher.ops_repo.output_commits import OutputFile
from dispatcher.ops_repo.records import (
    Head,
    Move,
    NewFile,
    Published,
    Seen,
)
from dispatcher.ops_repo.refs import HEAD
from dispatcher.ops_repo.repo_reader import RepoReader
from dispatcher.ops_repo.viewed import Approach, Loss
from dispatcher.ops_repo.withdrawals import Withdrawals
from dispatcher.ops_repo.writer import Writer
from dispatcher.settings import OpsRepoSettings


class OpsRepo(RepoReader):
    """A bare clone of the ops repository, and pushes to its remote. Thread-safe.

    The clone is created by the first call that needs it. Every method may raise ``Unavailable``
    (remote): a first call, and one that finds the clone damaged, contact the remote. Methods that
    take a commit raise ``Conflict`` if the clone lacks it.

    Args:
        git_dir: the clone; its directory is created. Several processes may share it. The records
            of rewritten histories are kept beside it.
        settings: remote, branch, author and time limit.
        credential: returns the token of an HTTPS remote, or None; its exceptions are passed on. It
            is called once, and again after the remote rejected the token.

    Attributes:
        lead: the ref on the remote that says which installation leads.
        outputs: the refs on the remote with the output of runs.

    Raises:
        Misconfigured: the remote is not a usable address.
    """

    def __init__(
        self,
        *,
        git_dir: Path,
        settings: OpsRepoSettings,
        credential: Callable[[], str | None] = lambda: None,
    ) -> None:
        super().__init__(Clone(git_dir, Git(settings, credential)))
        self._writer = Writer(self._clone)
        self._withdrawals = Withdrawals(self._clone)
        self._arrival_dates = ArrivalDates(git_dir.with_name(arrival_dates.FOLDER))
        self.outputs = self._writer.branch.outputs
        self.lead = LeadRef(self._clone, self._writer, repairing=self._repairing)

    # --- following the remote ------------------------------------------------------------

    def fetch(self) -> Head:
        """Fetch the branch from the remote.

        Raises:
            Unavailable: network or remote trouble, or no answer within ``timeout_s``.
            Denied: the remote rejects the credentials.
            Misconfigured: no such repository or branch, or it sends malformed objects.
        """
        return self._repairing(lambda: self._head(self._clone.fetcher.head()))

    def unmoved(self, commit: str, *, timeout_s: float) -> bool:
        """Whether a fetch would find nothing but this head of the branch; fetches nothing.

        Args:
            timeout_s: seconds for the remote's answer.

        Raises:
            Unavailable, Denied, Misconfigured: as ``fetch``.
        """
        return self._repairing(lambda: self._clone.fetcher.unmoved(commit, timeout_s=timeout_s))

    def local_head(self) -> Head | None:
        """The head as last fetched, without contacting the remote; None if there is no clone."""
        commit = self._clone.refs.value(HEAD)
        return None if commit is None else self._repairing(lambda: self._head(commit))

    def fetch_ref(self, ref: str) -> str:
        """Fetch another ref of the remote, such as ``refs/pull/7/head``; returns its commit.

        Raises:
            Unavailable, Denied, Misconfigured: as ``fetch``; Misconfigured also where the remote
                has no such ref.
        """
        return self._repairing(lambda: self._clone.fetcher.ref(ref))

    def mark_seen(self, commit: str) -> None:
        """Record that the consequences of this head are recorded; the next publish pushes this
        too, so that a fresh clone also notices a rewritten history.

        Raises:
            Misconfigured: the record of a rewritten history cannot be written.
        """

        def mark() -> None:
            head = self._head(commit)
            if head.seen and head.rewritten:
                self._withdrawals.record(head.seen, commit)
            self._clone.refs.set_seen(commit)

        self._repairing(mark)
        self._writer.branch.seen_changed()

    def approach(self, commit: str, before: Iterable[str], *, unknown: bool = False) -> Approach:
        """Record the withdrawals on the way to a head, before anything is decided on it: those of
        commits that are not in its history, and losses of commits whose withdrawals are unknown.

        Args:
            commit: the head.
            before: heads that decisions were made on, besides the last one of this method.
            unknown: there were others, which are unknown.

        Raises:
            Misconfigured: the record cannot be read or written.
            Conflict: the clone does not have the head.
        """
        heads = tuple(before)
        return self._repairing(lambda: self._withdrawals.approach(commit, heads, unknown=unknown))

    def seen(self) -> Seen:
        """The value of ``mark_seen`` in the clone, and whether the ref is intact."""
        return self._repairing(self._clone.refs.seen)

    def remote_seen(self) -> str:
        """The commit of the remote's ``refs/disinto/seen``, fetched; "" if there is none. Anybody
        who may push may have written it.

        Raises:
            Unavailable: the remote cannot be reached.
        """
        return self._repairing(self._clone.fetcher.remote_seen)

    def seen_trouble(self) -> str:
        """Why the remote rejects ``refs/disinto/seen`` along with results; "" while it does not."""
        return self._writer.branch.seen_trouble

    # --- approvals taken back ------------------------------------------------------------

    def withdrawn(self, commit: str, path: str) -> frozenset[str]:
        """Commits (hex) that do not approve a path any more at the head ``commit``: of histories
        that were rewritten, and touched the path in a commit which the rewrite dropped.

        Raises:
            Misconfigured: the records of rewrites cannot be read.
        """
        recorded = self._withdrawals.recorded(path)
        return recorded | self._repairing(lambda: self._withdrawals.between(commit, path))

    def forgotten(self, approval: str, *, at: float | None = None) -> str:
        """Why an approval is void because commits that cannot be read may have withdrawn it, as a
        clause; "" if it is valid.

        Args:
            approval: the commit (hex) that approves.
            at: when it was given, seconds since the epoch; None: the commit's date, which is to be
                trusted no further than whoever signed it.

        Raises:
            Misconfigured: the records of losses cannot be read.
        """
        return self._repairing(lambda: self._withdrawals.forgotten(approval, at=at))

    def losses(self) -> tuple[Loss, ...]:
        """When commits that decisions were made on could not be read any more, the latest last.

        Raises:
            Misconfigured: the records of losses cannot be read.
        """
        return self._withdrawals.losses()

    def arrived_at(self, change: Change) -> float:
        """When a commit came to the branch, seconds since the epoch: the time that it claims, or when
        it was first seen here, if that is earlier; 0.0 if it claims none.

        Raises:
            Misconfigured: the record of a commit that was dated in the future cannot be read or
                written.
        """
        return self._arrival_dates.of(change)

    # --- writing -------------------------------------------------------------------------

    def publish(
        self,
        files: Sequence[NewFile],
        *,
        message: str,
        moves: Sequence[Move] = (),
        check: Callable[[], None] = lambda: None,
        outputs: Sequence[OutputFile] = (),
    ) -> Published:
        """Add files, and move others, in one commit on the branch, and push it.

        A path that exists on the head it builds on is left unchanged and reported as skipped,
        except for a file that says what may be replaced (``NewFile.keeps``; its exceptions are
        passed on). If another push came first, the commit is rebuilt on top of it.

        Args:
            check: called before each attempt to push; its exceptions are passed on, and nothing is
                pushed.
            outputs: output of runs that the files name; it is on the remote when they are.

        Raises:
            OutputsRefused: the remote does not take the output; nothing was published.
            Unavailable: network or remote trouble, or too many others were faster.
            Denied: credentials; ``PushRefused`` for a hook or a protected branch, with the
                remote's message.
            Conflict: a file is where a directory is needed.
        """
        return self._repairing(
            lambda: self._writer.publish(tuple(files), tuple(moves), message, check, tuple(outputs))
        )

    def expect_publish(self) -> None:
        """Prepare the next ``publish``, if that can be done without changing anything. Raises nothing."""
        self._writer.branch.direct.prepare()

    def expect_nothing(self) -> None:
        """End what was prepared, if no ``publish`` used it."""
        self._writer.branch.direct.close()

    def propose(self, files: Sequence[NewFile], *, branch: str, message: str) -> str:
        """Add files in one commit on top of the head, and push it as a new branch.

        Returns:
            The commit (hex).

        Raises:
            BranchExists: the remote has such a branch with other commits.
            Unavailable, Denied: as ``publish``.
        """
        return self._repairing(lambda: self._writer.propose(tuple(files), branch, message))

    def try_push(self) -> None:
        """Check whether the remote would let us push to the branch: a dry run of the head as last
        fetched, which changes nothing.

        It ends once the remote has listed its refs for a push. So it detects wrong credentials,
        and a read-only token or key. It does not detect what is decided when a commit arrives:
        server-side hooks, branch protection, a quota, the file permissions of a remote that is a
        path. Forgejo and Gitea decide only then whether an account may write, because a reader may
        open a pull request by a push.

        Raises:
            Unavailable, Denied, Misconfigured: as ``fetch``.
        """
        self._repairing(self._writer.try_push)

    def stop(self) -> None:
        """End all commands with the remote, and start no more: for a process that ends. From now
        on every such call raises ``Unavailable``.
        """
        self._clone.git.conversations.stop()
        self.expect_nothing()

    def close(self) -> None:
        """End the processes kept for reading and pushing. The object may be used again."""
        self.expect_nothing()
        self._clone.close()

    # --- inside --------------------------------------------------------------------------

    def _head(self, commit: str) -> Head:
        seen_ref = self._clone.refs.seen()
        seen_commit = seen_ref.names or seen_ref.commit or None
        if seen_commit is None or seen_commit == commit:
            return Head(commit=commit, seen=seen_commit, rewritten=False)
        inside = bool(seen_ref.commit) and self._withdrawals.is_inside(seen_commit, commit)
        return Head(
            commit=commit,
            seen=seen_commit,
            rewritten=not inside,
            seen_readable=bool(seen_ref.commit),
        )
