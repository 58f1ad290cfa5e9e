"""Creates commits in the clone, without a work tree or an index.

Only the directories on the way to the files that are added are read, so the cost of a commit does not
depend on what lies elsewhere (in ``vault/done``). Files are added and removed without a process
(``by_trees``); what moves many, or meets a directory too large for that, is done by ``git fast-import``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from dispatcher.ops_repo import by_trees
from dispatcher.ops_repo.batch import Batch, paths_checked
from dispatcher.ops_repo.by_trees import stored
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.fast_import import added, author, commit_stream, placed, removed
from dispatcher.ops_repo.packs import NewObject
from dispatcher.ops_repo.reader import entries_at
from dispatcher.ops_repo.records import TREE_MODE, Entry, NewFile, Replaced
from dispatcher.ops_repo.refs import OUTGOING, UNSYNCED

FEW_CHANGES = 50
"""Maximum of names of one directory that are moved one by one."""


class Committer:
    """Creates our commits in one clone, on an existing commit."""

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self._git = clone.git

    def of_files(
        self, base: str, files: Sequence[NewFile], message: str, fds: Sequence[int]
    ) -> str:
        """Commit files that are not there yet; returns the hash."""
        new = paths_checked(files)
        return self.commit(
            base, added(new), message, fds, lambda: stored(self._clone, new, like=base)
        )

    def of_batch(
        self,
        batch: Batch,
        message: str,
        fds: Sequence[int],
        made: list[NewObject] | None = None,
    ) -> str:
        """Commit a batch, with a message that names what it replaces; returns the hash.

        Args:
            made: gets all objects that the commit brings; stays empty if git makes them.
        """
        made = [] if made is None else made
        # A directory cannot be replaced by a file: it is removed first.
        replacing = (*batch.over, *batch.removed, *batch.attached)
        gone = [file.path for file in replacing if file.path in batch.there]
        attached = [file for file in batch.attached if not file.removed]
        written = (*batch.files, *attached)
        return self.commit(
            batch.base,
            [*self._moved(batch), *map(removed, (*batch.cleared, *gone)), *added(written)],
            _explained(message, batch.replaced),
            fds,
            lambda: {
                **{m.source: None for m in batch.moved},
                **{m.target: batch.there[m.source] for m in batch.moved},
                **{file.path: None for file in (*batch.removed, *batch.attached)},
                **stored(self._clone, written, like=batch.base, made=made),
            },
            by_git=bool(batch.moved),
            made=made,
        )

    def commit(
        self,
        base: str,
        stream: Iterable[bytes],
        message: str,
        fds: Sequence[int],
        changes: Callable[[], Mapping[str, Entry | None]],
        *,
        by_git: bool = False,
        made: list[NewObject] | None = None,
    ) -> str:
        """Make a commit on ``base``; returns its hash. No process is needed if the directories are of a
        usual size.

        Args:
            stream: fast-import's file commands.
            changes: the same as entries by path.
            by_git: whether to use fast-import in any case in which it can read the base.
            made: see ``of_batch``.
        """
        settings, made = self._git.settings, [] if made is None else made
        who = author(settings)
        if not by_git:
            with suppress(by_trees.TooManyNames):
                return by_trees.commit(
                    self._clone,
                    base,
                    changes(),
                    message=message,
                    who=who,
                    limit=by_trees.READ_LIMIT,
                    made=made,
                )
        made.clear()
        try:
            done = self._git.run(
                self._clone.path,
                "fast-import",
                "--quiet",
                "--done",
                "--force",
                "--date-format=raw",
                stdin=commit_stream(settings, OUTGOING, stream, message, base=base),
                config=UNSYNCED,
                keep_fds=fds,
            )
        except GitFailed as failed:
            if not by_trees.is_needed(failed):
                raise
            commit = by_trees.commit(
                self._clone, base, changes(), message=message, who=who, limit=None
            )
            made.clear()
            return commit
        return done.line

    def _moved(self, batch: Batch) -> Iterator[bytes]:
        """fast-import's commands for moves.

        It scans a directory from the start for every name, so a directory with many changes is
        rewritten instead.
        """
        changes: dict[str, dict[str, Entry | None]] = {}
        for move in batch.moved:
            for path, entry in ((move.source, None), (move.target, batch.there[move.source])):
                folder, _, name = path.rpartition("/")
                changes.setdefault(folder, {})[name] = entry
        rewritten = {f for f, names in changes.items() if f and len(names) > FEW_CHANGES}
        for folder in sorted(rewritten, key=lambda directory: directory.count("/")):
            yield from self._written_anew(batch.base, folder, changes[folder])
        for folder in changes.keys() - rewritten:
            for name, entry in changes[folder].items():
                yield placed(f"{folder}/{name}" if folder else name, entry)

    def _written_anew(
        self, base: str, folder: str, changes: Mapping[str, Entry | None]
    ) -> Iterator[bytes]:
        directory = entries_at(self._clone, base, [folder]).get(folder)
        there = directory.oid if directory is not None and directory.directory else ""
        tree = by_trees.changed(
            self._clone, by_trees.listed(self._clone, there, limit=None), changes, like=base
        )
        entry = Entry(mode=TREE_MODE, oid=tree) if tree else None
        yield placed(folder, entry)


def _explained(message: str, replaced: Sequence[Replaced]) -> str:
    """The commit's message, with what it replaces."""
    if not replaced:
        return message
    lines = "\n".join(f"{r.path} (object {r.oid} of commit {r.commit})" for r in replaced)
    return f"{message}\n\nIn the place of what this dispatcher did not sign:\n{lines}"
