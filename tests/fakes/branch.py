"""The ops repo in memory: a remote that anybody may push to, and a clone that may be lost.

A commit is a snapshot with a parent, so that histories can be rewritten. What the clone does alone
is done at once; what the remote must answer is a micro-step (``tests.fakes.actors``).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dispatcher.attestation import git_blob
from dispatcher.errors import Dependency
from dispatcher.ops_repo import (
    Approach,
    Changes,
    CommitInfo,
    Delta,
    Entry,
    Head,
    NewFile,
    OutputFile,
    OutputsRefused,
    Published,
    Replaced,
    Seen,
    Tree,
)
from tests.fakes.actors import micro

REGULAR = 0o100644


def action_path(action_id: str) -> str:
    return f"vault/actions/{action_id}.toml"


def result_path(action_id: str) -> str:
    return f"vault/actions/{action_id}.result.json"


@dataclass(frozen=True)
class Snapshot:
    """One commit: blobs of actions and bytes of results, by id."""

    parent: str
    actions: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, bytes] = field(default_factory=dict)

    def listing(self) -> dict[str, Entry]:
        actions = {action_path(i): Entry(mode=REGULAR, oid=b) for i, b in self.actions.items()}
        results = {
            result_path(i): Entry(mode=REGULAR, oid=git_blob(d)) for i, d in self.results.items()
        }
        return {**actions, **results}


class MemoryRemote:
    """Attributes:
    seen: what ``refs/disinto/seen`` names there; "" if it is not there.
    outputs: objects with the whole output of runs.
    refuses: whether it takes no more of them.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.commits: dict[str, Snapshot] = {}
        self.seen = ""
        self.outputs: set[str] = set()
        self.refuses = False
        self.head = self.add(Snapshot(parent=""))

    @property
    def now(self) -> Snapshot:
        return self.commits[self.head]

    def add(self, snapshot: Snapshot) -> str:
        """A commit that no branch has yet."""
        oid = f"{next(self._numbers):040x}"
        self.commits[oid] = snapshot
        return oid

    def push(
        self,
        *,
        actions: Mapping[str, str] | None = None,
        results: Mapping[str, bytes] | None = None,
    ) -> str:
        """Somebody's commit on the branch."""
        now = self.now
        self.head = self.add(
            Snapshot(
                parent=self.head,
                actions=now.actions if actions is None else actions,
                results=now.results if results is None else results,
            )
        )
        return self.head

    def keep(self, outputs: Collection[OutputFile]) -> None:
        """Somebody's push of output."""
        if self.refuses:
            raise OutputsRefused("it takes none")
        self.outputs.update(output.path.name for output in outputs)

    def history(self, commit: str) -> Iterator[str]:
        """A commit and its ancestors, newest first."""
        while commit:
            yield commit
            commit = self.commits[commit].parent


class MemoryClone:
    """``OpsRepo`` as far as the service uses it.

    Attributes:
        seen_ref: the text of ``refs/disinto/seen`` in the clone; None if there is no such file.
    """

    def __init__(self, remote: MemoryRemote) -> None:
        self.remote = remote
        self.known: set[str] = set()
        self.head = ""
        self.seen_ref: str | None = None
        self._follows = False

    def fetch(self) -> None:
        """Bring the branch."""
        self.head = self.remote.head
        self.known.update(self.remote.history(self.head))

    def lose(self) -> None:
        """The directory is gone; the next fetch makes a new clone."""
        self.known.clear()
        self.head, self.seen_ref = "", None

    # -- what OpsRepo offers ----------------------------------------------------------------

    def local_head(self) -> Head | None:
        if not self.head:
            return None
        seen = self.seen().names
        inside = not seen or (seen in self.known and seen in self.remote.history(self.head))
        return Head(commit=self.head, seen=seen or None, rewritten=not inside)

    def approach(self, commit: str, before: Iterable[str], *, unknown: bool = False) -> Approach:
        lost = tuple(h for h in before if h not in self.known)
        dropped = tuple(h for h in before if h not in lost and h not in self.remote.history(commit))
        return Approach(dropped=dropped, lost=lost)

    def seen(self) -> Seen:
        if self.seen_ref is None:
            return Seen()
        if len(self.seen_ref) != 40:
            return Seen(damage="the ref cannot be read")
        if self.seen_ref in self.known:
            return Seen(commit=self.seen_ref, names=self.seen_ref)
        return Seen(names=self.seen_ref, damage="the ref names what is not a commit here")

    def has_commit(self, oid: str) -> bool:
        return oid in self.known

    def remote_seen(self) -> str:
        def fetch() -> str:
            seen = self.remote.seen
            if seen in self.remote.commits:
                self.known.update(self.remote.history(seen))
                return seen
            return ""

        return micro(Dependency.REMOTE, fetch)

    def mark_seen(self, commit: str) -> None:
        def mark() -> None:
            self.seen_ref, self._follows = commit, True

        micro(Dependency.REMOTE, mark)

    def advance(self, tree: Tree, commit: str) -> Changes:
        return tree.enter(self.difference(tree, commit))

    def difference(self, tree: Tree, commit: str) -> Delta:
        listing = self.remote.commits[commit].listing()
        return Delta(commit=commit, events=tuple(listing.items()), complete=True)

    def dropped_results(self, commits: Sequence[str]) -> dict[str, tuple[str, ...]]:
        found: dict[str, dict[str, None]] = {}
        for start in commits:
            for commit in self.remote.history(start):
                snapshot = self.remote.commits[commit]
                before = self.remote.commits.get(snapshot.parent)
                for action_id, data in (before.results if before else {}).items():
                    if snapshot.results.get(action_id) != data:
                        found.setdefault(action_id, {})[git_blob(data)] = None
        return {i: tuple(blobs) for i, blobs in found.items()}

    def positions(self, commit: str) -> dict[str, int]:
        """When each action of a commit came to the branch: the number of commits before it."""
        found: dict[str, int] = {}
        history = list(self.remote.history(commit))
        for index, oid in enumerate(reversed(history)):
            snapshot = self.remote.commits[oid]
            before = self.remote.commits.get(snapshot.parent)
            for action_id in snapshot.actions:
                if before is None or action_id not in before.actions:
                    found[action_id] = index
        return found

    def entry_at(self, commit: str, path: str) -> Entry | None:
        return self.remote.commits[commit].listing().get(path)

    def blob_at(self, commit: str, path: str) -> str | None:
        entry = self.entry_at(commit, path)
        return entry.oid if entry else None

    def entries_at(self, commit: str, paths: Iterable[str]) -> dict[str, Entry]:
        found = ((path, self.entry_at(commit, path)) for path in paths)
        return {path: entry for path, entry in found if entry}

    def read_file(self, commit: str, path: str, *, limit: int) -> bytes | int | None:
        blob = self.blob_at(commit, path)
        return self.read([blob], limit=limit)[blob] if blob else None

    def last_change(self, commit: str, path: str) -> CommitInfo | None:
        return None

    def read(self, blobs: Iterable[str], *, limit: int) -> dict[str, bytes | int]:
        known: dict[str, bytes | int] = {
            git_blob(data): data
            for commit in self.known
            for data in self.remote.commits[commit].results.values()
        }
        for commit in self.known:  # of an action only its blob is known
            known |= dict.fromkeys(self.remote.commits[commit].actions.values(), b"")
        return {blob: known[blob] for blob in blobs}

    def publish(
        self,
        files: Collection[NewFile],
        *,
        message: str,
        check: Callable[[], None] = lambda: None,
        outputs: Collection[OutputFile] = (),
    ) -> Published:
        check()
        if outputs:  # before the results: an atomic push is the one that nothing comes between
            micro(Dependency.REMOTE, lambda: self.remote.keep(outputs))
        return micro(Dependency.REMOTE, lambda: self._publish(files))

    def _publish(self, files: Collection[NewFile]) -> Published:
        base, results = self.remote.head, dict(self.remote.now.results)
        written, skipped, replaced = [], [], []
        for file in files:
            named = set(_objects(file.data))
            assert named <= self.remote.outputs, "no result names output that is not there"
            action_id = file.path.removeprefix("vault/actions/").removesuffix(".result.json")
            there = results.get(action_id)
            if there is not None and (
                there == file.data or file.keeps is None or file.keeps(there)
            ):
                skipped.append(file.path)
                continue
            if there is not None:
                replaced.append(Replaced(path=file.path, commit=base, oid=git_blob(there)))
            results[action_id] = file.data
            written.append(file.path)
        if written:
            commit = self.remote.push(results=results)
            if self._follows and self.seen_ref == base:
                self.remote.seen = commit
        self.fetch()
        return Published(
            commit=self.remote.head,
            written=tuple(written),
            skipped=tuple(skipped),
            replaced=tuple(replaced),
        )


def _objects(result: bytes) -> Iterator[str]:
    """The output that a result names."""
    output = json.loads(result).get("output") or {}
    for stream in ("stdout", "stderr"):
        if output.get(stream):
            yield output[stream]["object"]
