"""Reads the ops repository: the contents and the authors of its commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dispatcher.model.paths import ACTION_ENDING
from dispatcher.ops_repo import additions, authorship, inventory, lineage, reader
from dispatcher.ops_repo.authorship import Contribution
from dispatcher.ops_repo.changes import Changes, Delta
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.lineage import Lineage
from dispatcher.ops_repo.records import CommitInfo, Entry
from dispatcher.ops_repo.repairing import Repairing
from dispatcher.ops_repo.signatures import Signature, Signers, verify
from dispatcher.ops_repo.tree import Tree
from dispatcher.ops_repo.versions import versions


class RepoReader:
    """Reads commits of a clone. Thread-safe.

    Methods that take a commit raise ``Conflict`` if the clone lacks it.

    Args:
        clone: created by the first call that needs it.
    """

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self._repairing = Repairing(clone)

    def advance(self, tree: Tree, commit: str) -> Changes:
        """Move a tree to a commit, in place: completely at first, then only the differences."""
        return tree.enter(self.difference(tree, commit))

    def difference(self, tree: Tree, commit: str) -> Delta:
        """The difference of a tree to a commit, for ``Tree.enter``; the tree is not changed."""
        return self._repairing(lambda: reader.difference(self._clone, tree, commit))

    def tree_of(self, commit: str, action_id: str) -> Tree:
        """The part of a commit's tree that concerns one action."""
        return self._repairing(lambda: reader.tree_of(self._clone, commit, action_id))

    def read(self, blobs: Iterable[str], *, limit: int) -> dict[str, bytes | int]:
        """Contents by blob hash. A blob of more than ``limit`` bytes is not read: its size in
        bytes stands in its place. Give only hashes of regular files and symlinks.
        """
        requested = tuple(blobs)
        return self._repairing(lambda: reader.read(self._clone, requested, limit))

    def read_present(self, blobs: Iterable[str], *, limit: int) -> dict[str, bytes | int]:
        """The same; what the clone does not have is left out. Any text may be given."""
        requested = tuple(blobs)
        return self._repairing(lambda: reader.read_present(self._clone, requested, limit))

    def blob_at(self, commit: str, path: str) -> str | None:
        """Hash of the regular file at a path, or None: nothing there, or something else."""
        entry = self.entry_at(commit, path)
        return entry.oid if entry is not None and entry.regular else None

    def read_file(self, commit: str, path: str, *, limit: int) -> bytes | int | None:
        """Content of the regular file at a path; its size in bytes if that is more than ``limit``;
        None if nothing is there, or something else.
        """
        blob = self.blob_at(commit, path)
        return None if blob is None else self.read([blob], limit=limit)[blob]

    def entry_at(self, commit: str, path: str) -> Entry | None:
        """The entry at a path, with its mode."""
        return self._repairing(lambda: reader.entry_at(self._clone, commit, path))

    def entries_at(self, commit: str, paths: Iterable[str]) -> dict[str, Entry]:
        """The entries at many paths; missing ones are left out."""
        requested = tuple(paths)
        return self._repairing(lambda: reader.entries_at(self._clone, commit, requested))

    def directory(self, commit: str, path: str) -> dict[str, Entry]:
        """The entries of a directory by name; {} if there is none. Names are as git has them, so
        that they may hold surrogates (bytes that are not UTF-8).
        """
        return self._repairing(lambda: reader.directory(self._clone, commit, path))

    def inventory(self, commit: str) -> dict[tuple[str, str], Entry]:
        """The inventory's files at a commit, by kind and id."""
        return self._repairing(lambda: inventory.entries(self._clone, commit))

    def inventory_changes(
        self, commit: str, *, since: str = ""
    ) -> dict[tuple[str, str], dict[str, None]]:
        """By kind and id of an entry, ids of results that changed it, as messages claim.

        Args:
            since: a commit whose history is left out; "" for none.
        """
        return self._repairing(lambda: inventory.changes(self._clone, commit, since=since))

    def result_versions(self, commit: str, *, since: str = "") -> dict[str, dict[str, None]]:
        """By action id the blobs of results that the history brought together with a message about the
        inventory, the oldest first.

        Args:
            since: a commit whose history is left out; "" for none.
        """
        return self._repairing(lambda: inventory.result_versions(self._clone, commit, since=since))

    def action_versions(self, commit: str) -> dict[str, dict[str, None]]:
        """By id the blobs that the history had as files of actions, the oldest first. Reads all of it."""
        return self._repairing(lambda: versions(self._clone, [commit], ACTION_ENDING))

    def has_commit(self, oid: str) -> bool:
        """Whether the clone has a commit of this hash."""
        return self._repairing(lambda: self._clone.objects.has_commit(oid))

    def commit(self, commit: str) -> CommitInfo:
        """Facts of one commit."""
        return self._repairing(lambda: reader.commit_info(self._clone, commit))

    def last_change(self, commit: str, path: str) -> CommitInfo | None:
        """The commit that brought the present content of a path, or None if it never was.

        It is the one that ``git log -1 <commit> -- <path>`` names, without following renames:
        git goes back as long as a parent has the path as it is now, at a merge along the first
        such parent. So the path in the answer is exactly as in ``commit``, and differs from that
        in each of the answer's parents. A merge that holds neither side's version (an "evil
        merge") is itself the answer. A merge that takes over one side unchanged is not: there the
        commit on that side is, also where the side was never meant for this branch. For a path
        that is gone it is the commit that removed it.
        """
        return self._repairing(lambda: reader.last_change(self._clone, commit, path))

    def lineage(self, commit: str, path: str) -> Lineage | None:
        """The origin of the content of a path without trusting merges, unlike ``last_change``; see
        ``Lineage``. None if no commit ever touched the path.
        """
        return self._repairing(lambda: lineage.lineage(self._text, commit, path))

    def mainline(self, commit: str, *, since: str, limit: int) -> tuple[str, ...]:
        """First-parent chain from ``since`` (with it, first) up to ``commit``: the oldest
        ``limit`` of them; () where ``since`` is not on it.
        """
        return self._repairing(
            lambda: lineage.mainline(self._text, commit, since=since, limit=limit)
        )

    def names_request(self, commit: str) -> int:
        """Number of the pull request that a commit's subject names last; 0 for none. A forge's merges and
        squashed commits have it, and the author of a commit can put any number there.
        """
        return self._repairing(lambda: reader.names_request(self._clone, commit))

    def contributions(self, origin: Lineage, path: str) -> tuple[Contribution, ...]:
        """The commits that changed a file and came to the branch together, the last change first."""
        return self._repairing(
            lambda: authorship.contributions(self._clone, self._text, origin, path)
        )

    def sole_author(self, commit: str, path: str) -> CommitInfo | None:
        """The last commit that changed a path, if everyone who ever changed it has the same e-mail address;
        see ``authorship.sole_author``.
        """
        return self._repairing(
            lambda: authorship.sole_author(self._clone, self._text, commit, path)
        )

    def naming(self, text: str, *, since: str, commit: str) -> tuple[str, ...]:
        """Commits in the history of ``commit`` and not of ``since`` that carry a signature, whoever
        made it, and whose message contains a text, in the order of the
        branch's first-parent history; a limited number of them.
        """
        return self._repairing(
            lambda: authorship.naming(self._clone, text, since=since, commit=commit)
        )

    def additions(
        self, commit: str, *, since: str = "", skip: int = 0, count: int
    ) -> dict[str, CommitInfo]:
        """The commit that added each action, by id, among the newest commits; see ``additions``."""
        return self._repairing(
            lambda: additions.additions(self._clone, commit, since=since, skip=skip, count=count)
        )

    def commit_count(self, commit: str) -> int:
        """How many commits the history of one has, with it."""
        return int(self._repairing(lambda: self._text("rev-list", "--count", commit, "--")))

    def dropped_results(self, commits: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Results that were deleted or changed anywhere in the history of these commits: blob
        hashes by action id, the latest first. Walks the entire history.

        Raises:
            Unavailable: it takes too long.
        """
        requested = tuple(commits)
        return self._repairing(lambda: reader.dropped_results(self._clone, requested))

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Whether ``ancestor`` is ``commit`` or in its history. False for an unknown ancestor."""
        return self._repairing(lambda: reader.is_ancestor(self._clone, ancestor, commit))

    def commits_between(self, base: str, head: str) -> list[CommitInfo]:
        """Commits in the history of ``head`` and not of ``base``, newest first, with merges."""
        return self._repairing(lambda: reader.commits_between(self._clone, base, head))

    def signature(self, commit: str, signers: Signers) -> Signature:
        """Who signed a commit, checked against trusted keys; see ``Signature``."""
        return self._repairing(lambda: verify(self._clone, commit, signers))

    def _text(self, *args: str) -> str:
        return self._clone.git.run(self._clone.path, *args).out.decode("utf-8", "replace")
