"""Finds what results of ours said: as they are in git, or as they were once, whatever became of their files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from dispatcher.loop.foreign import InGit
from dispatcher.loop.inventory_facts import Fact, FactReader, Named
from dispatcher.model.names import is_id
from dispatcher.ops_repo import Entry

Locate = Callable[[str], InGit | None]
"""Finds the file in git at the path of an action's result."""

Kept = Callable[[], Mapping[str, str]]
"""The texts of results that the ledger keeps in tombstones, by action id."""


class HistoryRepo(Protocol):
    """What of the ops repo is read."""

    def entries_at(self, commit: str, paths: Iterable[str]) -> Mapping[str, Entry]: ...
    def is_ancestor(self, ancestor: str, commit: str) -> bool: ...
    def read_present(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]: ...
    def result_versions(self, commit: str, *, since: str = "") -> Mapping[str, Iterable[str]]: ...


class ResultHistory:
    """The results that the history brought, which it is searched for only if one is not in git as we signed
    it. Not thread-safe.

    Attributes:
        repo: the ops repo.

    Args:
        repo: the ops repo.
        facts: verifies results.
    """

    def __init__(self, repo: HistoryRepo, facts: FactReader) -> None:
        self.repo, self._facts = repo, facts
        self._read: tuple[str, dict[str, dict[str, None]]] = ("", {})

    def verified(self, commit: str, action_ids: Collection[str]) -> dict[str, Fact]:
        """What the results of these actions said, by action id: the first of each that was ours."""
        versions = self._versions(commit)
        left = {i: iter(versions[i]) for i in action_ids if i in versions}
        facts: dict[str, Fact] = {}
        while blobs := {i: blob for i, rest in left.items() if (blob := next(rest, None))}:
            facts |= self._facts.verified(blobs)
            left = {i: rest for i, rest in left.items() if i in blobs and i not in facts}
        return facts

    def _versions(self, commit: str) -> Mapping[str, Iterable[str]]:
        """The blobs of results up to a commit, and those of histories that were read before."""
        head, versions = self._read
        if head and (commit == head or self.repo.is_ancestor(commit, head)):
            return versions
        since = head if head and self.repo.is_ancestor(head, commit) else ""
        for action_id, blobs in self.repo.result_versions(commit, since=since).items():
            versions.setdefault(action_id, {}).update(dict.fromkeys(blobs))
        self._read = (commit, versions)
        return versions


class FactSearch:
    """What results say, read as they are named.

    Attributes:
        edited: ids of those that somebody edited or removed.
        asked: ids of all that were searched for.

    Args:
        reader: verifies them.
        history: has those that somebody edited or removed.
        commit, locate: where they are.
        kept: of tombstones.
    """

    def __init__(
        self,
        reader: FactReader,
        history: ResultHistory,
        commit: str,
        locate: Locate,
        kept: Kept | None,
    ) -> None:
        self._reader, self._history = reader, history
        self._commit, self._locate = commit, locate
        self._kept: Kept = kept or dict
        self._texts: Mapping[str, str] | None = None
        self._facts: dict[str, Fact] = {}
        self.asked: set[str] = set()
        self.edited: set[str] = set()

    def has(self, action_id: str) -> bool:
        """Whether a result of ours of this action was read."""
        return action_id in self._facts

    def of(self, action_id: str) -> Fact | None:
        """What the result of this action says; None if none of ours was read."""
        return self._facts.get(action_id)

    def learn(self, action_ids: Iterable[str]) -> None:
        """Read the results of these actions: as they are in git, or as they were once verified."""
        new = {i for i in action_ids if is_id(i)} - self.asked
        self.asked |= new
        self._facts.update(self._reader.verified(self._blobs(new)))
        elsewhere = (
            self._reader.remembered,
            lambda rest: self._history.verified(self._commit, rest),
            self._in_tombstones,
        )
        for search in elsewhere:
            rest = new - self._facts.keys()
            if rest:
                found = search(rest)
                self.edited |= found.keys()
                self._facts.update(found)

    def about(self, named: Named, action_ids: Iterable[str]) -> list[Fact]:
        """What the results of these actions say about one entry."""
        facts = (self._facts.get(action_id) for action_id in action_ids)
        return [fact for fact in facts if fact is not None and (fact.kind, fact.id) == named]

    def _blobs(self, action_ids: Collection[str]) -> dict[str, str]:
        files = {i: file for i in action_ids if (file := self._locate(i)) is not None}
        blobs = {i: file.blob for i, file in files.items() if file.blob}
        rest = {file.path: i for i, file in files.items() if not file.blob}
        if rest:
            found = self._history.repo.entries_at(self._commit, rest)
            blobs |= {rest[path]: entry.oid for path, entry in found.items() if entry.regular}
        return blobs

    def _in_tombstones(self, action_ids: Collection[str]) -> dict[str, Fact]:
        texts, read = self._tombstones(), self._reader.of_text
        facts = {i: read(texts[i], i, like=self._commit) for i in action_ids if i in texts}
        return {i: fact for i, fact in facts.items() if fact is not None}

    def _tombstones(self) -> Mapping[str, str]:
        if self._texts is None:
            self._texts = self._kept()
        return self._texts
