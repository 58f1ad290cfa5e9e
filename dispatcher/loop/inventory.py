"""The inventory as signed results have it, whatever its files in git show.

Anybody who may push can write any file there, remove one, or bring an old one back. So an entry is what
the last result of ours wrote about it, and it exists until a result of ours says that it was destroyed.
Ids of entries are those of the actions that created them and are never used again, so one removal is
final. The results are found by the messages of our commits, and by what a file says of itself: both only
name results, whose signatures decide. What a result said that was verified once counts, whatever becomes of its
file: a result that somebody edited or removed is taken from the history, or from the tombstone that the ledger
has of it.

A file that differs from its entry is named with the reason, and not followed;
``dispatcher.loop.inventory_restoring`` writes the genuine one back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from dispatcher.loop.foreign import in_git
from dispatcher.loop.inventory_cache import FactCache, parsed
from dispatcher.loop.inventory_facts import Claims, Fact, FactReader, Named, merged, sequence_at
from dispatcher.loop.inventory_search import FactSearch, HistoryRepo, Kept, Locate, ResultHistory
from dispatcher.loop.inventory_standing import (
    Altered,
    Standing,
    altered_of,
    difference,
    standing_of,
    writer_of,
)
from dispatcher.loop.verifying import Verifier
from dispatcher.model.inventory_entry import FILE_LIMIT, entry_path
from dispatcher.model.result import SEQUENCE_MAX
from dispatcher.model.times import epoch, in_utc
from dispatcher.ops_repo import Entry, Tree


class Repo(HistoryRepo, Protocol):
    """What of the ops repo is read."""

    def inventory(self, commit: str) -> dict[Named, Entry]: ...
    def inventory_changes(self, commit: str, *, since: str = "") -> Claims: ...
    def has_commit(self, oid: str) -> bool: ...
    def read(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class InventoryEntry:
    """One entry of the inventory.

    Attributes:
        kind, id: names it; the id is that of the action that created it.
        blob: hash (hex) of its genuine file; of the file in git if it is not believed.
        problem: why it is not believed, in words; "" if it is. Then the rest is true.
        result: id of the action whose result wrote the file last.
        at: when, RFC 3339.
        tier, approved_by: of that run.
        destroyed_by: the formula that destroys it; "" if none is known.
        expires_at: when the dispatcher has it destroyed, RFC 3339 in UTC; "" for never.
        entry: what the formula handed back.
        missing: whether somebody took its file away; the entry is from the result.
        forged: why the file in git is not followed, in words; the entry is from the result. "" if the
            file is genuine, or missing.
        action_blob: hash (hex) of the action whose run wrote the file, by the signed result.
    """

    kind: str
    id: str
    blob: str
    problem: str = ""
    result: str = ""
    at: str = ""
    tier: str = ""
    approved_by: tuple[str, ...] = ()
    destroyed_by: str = ""
    expires_at: str = ""
    entry: Mapping[str, Any] = field(default_factory=dict)
    missing: bool = False
    forged: str = ""
    action_blob: str = ""

    @property
    def path(self) -> str:
        """In the ops repo."""
        return entry_path(self.kind, self.id)

    @property
    def expires_s(self) -> float | None:
        """``expires_at`` in seconds since the epoch; None for never."""
        try:
            return epoch(self.expires_at) if self.expires_at else None
        except (ValueError, OverflowError):
            return None


HEADS_UNKEPT = 100
"""Heads without a claim after which the newest is kept nevertheless, so that a start reads few again."""


class InventoryReader:
    """Reads and checks the inventory. Thread-safe.

    Attributes:
        repo: the ops repo.
        facts: what results say.
        edited: ids of results of ours that somebody edited or removed, as far as the last reading needed
            them; what they say was taken from elsewhere.

    Args:
        repo: the ops repo.
        verifier: recognizes our results.
        cache: of what was verified.
    """

    def __init__(self, repo: Repo, verifier: Verifier, cache: FactCache | None = None) -> None:
        self.repo = repo
        self._cache = cache or FactCache(None)
        self._verifier = verifier
        self.facts = FactReader(repo, verifier, self._cache)
        self._turn = threading.RLock()
        self._shown: dict[Fact, InventoryEntry] = {}
        self._walked: tuple[str, Claims] | None = None
        self._kept_head, self._unkept = "", 0
        self._listed: tuple[str, dict[Named, Entry]] = ("", {})
        self._history = ResultHistory(repo, self.facts)
        self._sequence, self._counting = 0, threading.Lock()
        self.edited: tuple[str, ...] = ()

    @property
    def verifies(self) -> bool:
        """Whether signatures are verified: without a key everything is believed."""
        return self._verifier.signs

    def ended(self, tree: Tree, action_ids: Iterable[str]) -> set[str]:
        """Those of these actions that ended, by a result that we signed. Raises what ``all`` raises."""
        with self._turn:
            search = self._search(tree, action_ids)
            return {action_id for action_id in search.asked if search.has(action_id)}

    def said(self, tree: Tree, action_id: str) -> Fact | None:
        """What the result of an action says, whatever became of its file; None if no result of ours is known.
        Raises what ``all`` raises.
        """
        with self._turn:
            return self._search(tree, [action_id]).of(action_id)

    def _search(self, tree: Tree, action_ids: Iterable[str]) -> FactSearch:
        search = FactSearch(self.facts, self._history, tree.commit, lambda i: in_git(tree, i), None)
        search.learn(action_ids)
        return search

    def next_sequence(self, now: float) -> int:
        """The sequence of a result that changes the inventory: greater than any that was given or read.

        Args:
            now: seconds since the epoch.
        """
        with self._counting:
            before = max(self._sequence or self._cache.greatest(), self.facts.greatest)
            self._sequence = min(max(sequence_at(now), before + 1), SEQUENCE_MAX)
            return self._sequence

    def all(
        self, tree: Tree, *, kind: str | None = None, kept: Kept | None = None
    ) -> list[InventoryEntry]:
        """Every entry at a tree's commit, and every file that is none, by kind and id.

        Args:
            kind: only of this kind.
            kept: see ``Kept``; called if a result is not in git as we signed it.

        Raises:
            Unavailable, Denied: our key is in Vault and cannot be read.
        """
        return self.read(tree.commit, lambda i: in_git(tree, i), kind=kind, kept=kept)

    def read(
        self, commit: str, locate: Locate, *, kind: str | None = None, kept: Kept | None = None
    ) -> list[InventoryEntry]:
        """The same at a commit. Raises what ``all`` raises."""
        with self._turn:
            standings = self._standings(commit, locate, kind, kept)
            self._show(each.written for each in standings.values() if not each.ended_by)
            shown = (self._entry(named, each) for named, each in sorted(standings.items()))
            return [entry for entry in shown if entry is not None]

    def standing(
        self, commit: str, locate: Locate, named: Named, *, kept: Kept | None = None
    ) -> Standing:
        """What results say about one entry. Raises what ``all`` raises."""
        path = entry_path(*named)
        with self._turn:
            file = self.repo.entries_at(commit, [path]).get(path)
            files = {} if file is None else {named: file}
            claims = self._claims(commit)
            some = {named: claims[named]} if named in claims else {}
            found = self._judged(commit, locate, files, some, kept)
            return found.get(named, Standing(file=None))

    def altered(self, commit: str, locate: Locate, *, kept: Kept | None = None) -> list[Altered]:
        """What somebody did to files of entries that are or were ours. Raises what ``all`` raises."""
        with self._turn:
            standings = self._standings(commit, locate, None, kept)
            found = (altered_of(named, each) for named, each in sorted(standings.items()))
            return [each for each in found if each is not None]

    def destroyed(
        self, tree: Tree, *, kind: str, kept: Kept | None = None
    ) -> list[tuple[InventoryEntry, str]]:
        """Entries that a run of ours took away, as they were last, each with the id of its action.
        Raises what ``all`` raises.
        """
        with self._turn:
            standings = self._standings(tree.commit, lambda i: in_git(tree, i), kind, kept)
            return [
                (self._shown_as(each.written), each.ended_by)
                for _, each in sorted(standings.items())
                if each.ended_by and each.written is not None and each.file is None
            ]

    # -- what results say -----------------------------------------------------------------

    def _standings(
        self, commit: str, locate: Locate, kind: str | None, kept: Kept | None
    ) -> dict[Named, Standing]:
        files, claims = self._files(commit), self._claims(commit)
        if kind is not None:
            files = {named: entry for named, entry in files.items() if named[0] == kind}
            claims = {named: ids for named, ids in claims.items() if named[0] == kind}
        return self._judged(commit, locate, files, claims, kept)

    def _judged(
        self,
        commit: str,
        locate: Locate,
        files: Mapping[Named, Entry],
        claims: Claims,
        kept: Kept | None,
    ) -> dict[Named, Standing]:
        facts = FactSearch(self.facts, self._history, commit, locate, kept)
        facts.learn(action_id for ids in claims.values() for action_id in ids)
        standings = {
            named: standing_of(files.get(named), facts.about(named, claims.get(named, ())))
            for named in {*files, *claims}
        }
        odd = {n: s for n, s in standings.items() if s.odd}
        standings.update(self._of_odd_files(odd, facts, claims))
        self.edited = tuple(sorted(facts.edited))
        return standings

    def _of_odd_files(
        self, odd: Mapping[Named, Standing], facts: FactSearch, claims: Claims
    ) -> Iterator[tuple[Named, Standing]]:
        """Files that are not what the results named by the history wrote: the result that a file
        names itself counts as well, because the history's messages may have been rewritten.
        """
        contents = self._contents([each.file for each in odd.values() if each.file])
        for named, each in odd.items():
            writer, problem = writer_of(named, contents.get(each.file.oid) if each.file else None)
            if problem:
                yield named, replace(each, problem=problem)
                continue
            facts.learn([writer])
            own = facts.about(named, [writer])
            all_facts = facts.about(named, {**claims.get(named, {}), writer: None})
            full = replace(standing_of(each.file, all_facts), claimed_by=writer)
            yield named, replace(full, problem=difference(full, own, known=facts.has(writer)))

    def _entry(self, named: Named, standing: Standing) -> InventoryEntry | None:
        """How an entry is shown; None for one that is gone."""
        written, file = standing.written, standing.file
        gone = bool(standing.ended_by) or written is None
        if file is None:
            return None if gone else replace(self._shown_as(written), missing=True)
        if standing.genuine and not standing.ended_by:
            return self._shown_as(written)
        problem = standing.reason
        if gone:
            bare = InventoryEntry(kind=named[0], id=named[1], blob=file.oid)
            return replace(bare, problem=problem, result=standing.claimed_by)
        return replace(self._shown_as(written), forged=problem)

    def _shown_as(self, fact: Fact | None) -> InventoryEntry:
        if fact is None:
            raise ValueError("nothing wrote this entry")
        if fact not in self._shown:
            self._show([fact])
        return self._shown[fact]

    def _show(self, facts: Iterable[Fact | None]) -> None:
        """Read what these facts wrote, together."""
        new = list({fact: None for fact in facts if fact is not None and fact not in self._shown})
        for fact, plain in zip(new, parsed(fact.file for fact in new), strict=True):
            texts: dict[str, Any] = {name: str(plain[name] or "") for name in _TEXTS}
            if texts["expires_at"]:  # as it is shown; earlier versions kept what a formula wrote
                texts["expires_at"] = in_utc(texts["expires_at"]) or ""
            self._shown[fact] = InventoryEntry(
                kind=fact.kind,
                id=fact.id,
                blob=fact.blob,
                approved_by=tuple(map(str, plain["approved_by"])),
                entry=plain["entry"],
                action_blob=fact.action_blob,
                **texts,
            )

    # -- git ------------------------------------------------------------------------------

    def _files(self, commit: str) -> dict[Named, Entry]:
        if self._listed[0] != commit:
            self._listed = (commit, self.repo.inventory(commit))
        return self._listed[1]

    def _claims(self, commit: str) -> Claims:
        """What the messages up to a commit claim, and those of histories that were read before: whoever
        rewrites them must not have an entry forgotten whose results are still there.
        """
        if self._walked is None:
            head, kept = self._cache.claims()
            self._kept_head = head if head and self.repo.has_commit(head) else ""
            self._walked = (head, kept) if self._kept_head else None
        head, claims = self._walked or ("", {})
        if head == commit:
            return claims
        # In this order: that the branch went on is mostly known without a process.
        since = head if head and self.repo.is_ancestor(head, commit) else ""
        if head and not since and self.repo.is_ancestor(commit, head):
            return claims
        more = self.repo.inventory_changes(commit, since=since)
        self._walked = (commit, merged(claims, more))
        self._unkept += 1
        if more or not since or self._unkept >= HEADS_UNKEPT:
            self._keep(commit, more)
        return self._walked[1]

    def _keep(self, commit: str, more: Claims) -> None:
        """Keep the claims up to a commit. A head without claims changes nothing that is kept, so most are not
        written, each of which would be synced to the disk: the next process reads their messages again.

        Args:
            more: the claims since the head that is kept.
        """
        self._unkept = 0
        if self._cache.walked(commit, more, since=self._kept_head):
            self._kept_head = commit
            return
        # Another process read another history meanwhile: keep what is new since its head.
        self._kept_head = _NO_HEAD
        head, _ = self._cache.claims()
        if head and self.repo.has_commit(head) and self.repo.is_ancestor(head, commit):
            more = self.repo.inventory_changes(commit, since=head)
            if self._cache.walked(commit, more, since=head):
                self._kept_head = commit

    def _contents(self, files: Iterable[Entry]) -> Mapping[str, bytes | int]:
        blobs = {file.oid for file in files if file.regular}
        return self.repo.read(blobs, limit=FILE_LIMIT) if blobs else {}


_NO_HEAD = "-"
"""Is kept by no cache, so that nothing follows it."""

_TEXTS = ("result", "at", "tier", "destroyed_by", "expires_at")
