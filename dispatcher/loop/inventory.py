"""The inventory as it is believed: each entry checked against the signed result that wrote it.

Anybody who may push can write any file there, or bring an old one back. An entry is believed only if

* the result that it names is in git, carries our signature, and says that it wrote exactly these bytes,
* and no result of ours removed that entry, or updated it later. Ids of entries are those of the actions
  that created them and are never used again, so one removal is final. Both are found by the messages of
  our commits: the file may have been taken away by somebody else first.

What is not believed is shown with the reason, and nothing is done about it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from dispatcher.loop.foreign import InGit, in_git
from dispatcher.loop.verifying import Verifier
from dispatcher.model.inventory import Change
from dispatcher.model.inventory_entry import FILE_LIMIT, entry_path, rendered
from dispatcher.model.names import is_id
from dispatcher.model.result import RESULT_LIMIT, Result
from dispatcher.model.times import epoch
from dispatcher.ops_repo import Entry, Tree

Named = tuple[str, str]
"""Kind and id of an entry."""

CHANGES_LIMIT = 1_000
"""Claimed changes of one entry beyond which it is not believed: somebody fills the history with them."""


class Repo(Protocol):
    """What of the ops repo is read."""

    def inventory(self, commit: str) -> dict[Named, Entry]: ...
    def inventory_changes(self, commit: str) -> dict[Named, list[str]]: ...
    def read(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]: ...
    def read_file(self, commit: str, path: str, *, limit: int) -> bytes | int | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class InventoryEntry:
    """One entry of the inventory.

    Attributes:
        kind, id: names it; the id is that of the action that created it.
        blob: hash (hex) of its file.
        problem: why it is not believed, in words; "" if it is. Then the rest is true.
        result: id of the action whose result wrote the file last.
        at: when, RFC 3339.
        tier, approved_by: of that run.
        destroyed_by: the formula that destroys it; "" if none is known.
        expires_at: when the dispatcher has it destroyed, RFC 3339; "" for never.
        entry: what the formula handed back.
        missing: whether somebody took its file away; the entry is from the result.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A file of the inventory as it is, before anything of it is believed."""

    entry: InventoryEntry
    data: bytes


class InventoryReader:
    """Reads and checks the inventory. Thread-safe.

    Args:
        repo: the ops repo.
        verifier: recognizes our results.
    """

    def __init__(self, repo: Repo, verifier: Verifier) -> None:
        self._repo, self._verifier = repo, verifier
        self._known: Mapping[Named, Claimed] = {}

    def claimed(self, commit: str, *, kind: str | None = None) -> list[Claimed]:
        """Every file, by kind and id; nothing of it is checked yet. Only what changed since the last
        call is read.
        """
        named = {
            name: entry
            for name, entry in sorted(self._repo.inventory(commit).items())
            if kind in (None, name[0])
        }
        known = self._known  # replaced whole, so that other threads see one or the other
        new = {n: e for n, e in named.items() if n not in known or known[n].entry.blob != e.oid}
        blobs = {entry.oid for entry in new.values() if entry.regular}
        contents = self._repo.read(blobs, limit=FILE_LIMIT) if blobs else {}
        read = {name: _claimed(name, entry, contents) for name, entry in new.items()}
        self._known = {name: read.get(name) or known[name] for name in named}
        return list(self._known.values())

    def believed(
        self,
        claimed: Sequence[Claimed],
        *,
        commit: str,
        locate: Callable[[str], InGit | None],
    ) -> list[InventoryEntry]:
        """The same entries, each checked.

        Args:
            locate: finds the file in git at the path of an action's result.

        Raises:
            Unavailable, Denied: our key is in Vault and cannot be read.
        """
        names = {(each.entry.kind, each.entry.id) for each in claimed}
        changes = self._repo.inventory_changes(commit) if names else {}
        later = {name: ids for name, ids in changes.items() if name in names}
        few = (i for ids in later.values() if len(ids) <= CHANGES_LIMIT for i in ids)
        wanted = {each.entry.result for each in claimed if not each.entry.problem}
        results = self._results({*wanted, *few}, locate)
        return [_checked(each, later, results) for each in claimed]

    def all(self, tree: Tree, *, kind: str | None = None) -> list[InventoryEntry]:
        """Every entry at a tree's commit, checked; also those whose file somebody took away, as the
        last result that wrote it has them. Raises what ``believed`` raises.
        """
        claimed = self.claimed(tree.commit, kind=kind)

        def locate(action_id: str) -> InGit | None:
            return in_git(tree, action_id)

        there = {(each.entry.kind, each.entry.id) for each in claimed}
        changes = self._repo.inventory_changes(tree.commit)
        gone = {n: ids for n, ids in changes.items() if n not in there and kind in (None, n[0])}
        found = self.believed(claimed, commit=tree.commit, locate=locate)
        return sorted([*found, *self._missing(gone, locate)], key=lambda each: (each.kind, each.id))

    def destroyed(self, tree: Tree, *, kind: str) -> list[tuple[InventoryEntry, str]]:
        """Entries that a run of ours took away, as they were last, each with the id of its action.
        Raises what ``believed`` raises.
        """
        there = self._repo.inventory(tree.commit)
        changes = self._repo.inventory_changes(tree.commit)
        gone = {n: ids for n, ids in changes.items() if n not in there and n[0] == kind}
        found = []
        for bare, own in self._own(gone, lambda action_id: in_git(tree, action_id)):
            ends = [each for each in own if _did(each, Change.DESTROYS, bare)]
            writes = [each for each in own if not _did(each, Change.DESTROYS, bare)]
            if ends and writes:
                last = max(writes, key=lambda result: result.timestamp)
                found.append((_read(bare, json.loads(rendered(last))), ends[0].id))
        return found

    def _own(
        self, changes: Mapping[Named, Sequence[str]], locate: Callable[[str], InGit | None]
    ) -> Iterator[tuple[InventoryEntry, list[Result]]]:
        """For each entry that was changed, a bare one and the results of ours that changed it."""
        few = {name: ids for name, ids in changes.items() if len(ids) <= CHANGES_LIMIT}
        results = self._results({i for ids in few.values() for i in ids}, locate)
        for (kind, entry_id), ids in few.items():
            bare = InventoryEntry(kind=kind, id=entry_id, blob="")
            own = [r for i in ids if (r := results.get(i)) and _about(r, bare)]
            if own:
                yield bare, own

    def _missing(
        self, changes: Mapping[Named, Sequence[str]], locate: Callable[[str], InGit | None]
    ) -> Iterator[InventoryEntry]:
        """Entries without a file that no result of ours removed."""
        for bare, own in self._own(changes, locate):
            if any(_did(result, Change.DESTROYS, bare) for result in own):
                continue
            last = max(own, key=lambda result: result.timestamp)
            yield replace(_read(bare, json.loads(rendered(last))), missing=True)

    def _results(
        self, action_ids: Collection[str], locate: Callable[[str], InGit | None]
    ) -> dict[str, Result]:
        """Results of ours, by id."""
        files = {i: file for i in action_ids if is_id(i) and (file := locate(i)) is not None}
        contents = self._repo.read({f.blob for f in files.values() if f.blob}, limit=RESULT_LIMIT)
        results = {}
        for action_id, file in files.items():
            data = contents.get(file.blob) if file.blob else None
            if data is None:
                data = self._repo.read_file(file.commit, file.path, limit=RESULT_LIMIT)
            result = self._ours(data, action_id)
            if result is not None:
                results[action_id] = result
        return results

    def _ours(self, data: bytes | int | None, action_id: str) -> Result | None:
        if not isinstance(data, bytes):
            return None
        if self._verifier.signs and not self._verifier.ours(data, action_id=action_id, blob=None):
            return None
        try:
            result = Result.model_validate_json(data)
        except ValueError:
            return None
        return result if result.id == action_id else None


def _checked(
    claimed: Claimed, changes: Mapping[Named, Sequence[str]], results: Mapping[str, Result]
) -> InventoryEntry:
    entry, result = claimed.entry, results.get(claimed.entry.result)
    problem = entry.problem or _why_not(entry, claimed.data, result)
    problem = problem or _outdated(entry, changes, results)
    return replace(entry, problem=problem, action_blob=result.blob if result else "")


def _outdated(
    entry: InventoryEntry, changes: Mapping[Named, Sequence[str]], results: Mapping[str, Result]
) -> str:
    """Why a file that a result of ours wrote is not the present one; "" if it is."""
    claims = changes.get((entry.kind, entry.id), ())
    if len(claims) > CHANGES_LIMIT:
        return f"more than {CHANGES_LIMIT} commits claim to have changed it"
    for action_id in claims:
        result = results.get(action_id)
        if _did(result, Change.DESTROYS, entry):
            return f"{action_id} destroyed it; its file was brought back"
        if result and _did(result, Change.UPDATES, entry) and result.timestamp > entry.at:
            return f"it is older than what {action_id} wrote"
    return ""


def _claimed(named: Named, entry: Entry, contents: Mapping[str, bytes | int]) -> Claimed:
    kind, entry_id = named
    bare = InventoryEntry(kind=kind, id=entry_id, blob=entry.oid)
    data = contents.get(entry.oid) if entry.regular else None
    if not isinstance(data, bytes):
        what = "it is too large" if isinstance(data, int) else "it is not a regular file"
        return Claimed(entry=replace(bare, problem=what), data=b"")
    try:
        return Claimed(entry=_read(bare, json.loads(data)), data=data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Claimed(entry=replace(bare, problem="it is not an entry of disinto"), data=data)


def _read(bare: InventoryEntry, plain: Mapping[str, Any]) -> InventoryEntry:
    texts: dict[str, Any] = {
        name: str(plain[name] or "")
        for name in ("result", "at", "tier", "destroyed_by", "expires_at")
    }
    entry = plain["entry"]
    if (plain["kind"], plain["id"]) != (bare.kind, bare.id) or not isinstance(entry, dict):
        raise ValueError("another's")
    approved_by = tuple(str(each) for each in plain["approved_by"])
    return replace(bare, **texts, approved_by=approved_by, entry=entry)


def _about(result: Result, entry: InventoryEntry) -> bool:
    done = result.inventory
    return done is not None and (done.kind, done.id) == (entry.kind, entry.id)


def _did(result: Result | None, change: Change, entry: InventoryEntry) -> bool:
    done = result.inventory if result else None
    return done is not None and (done.change, done.kind, done.id) == (change, entry.kind, entry.id)


def _why_not(entry: InventoryEntry, data: bytes, result: Result | None) -> str:
    """Why a file is not what the result that it names wrote; "" if it is."""
    if result is None:
        return f"there is no result {entry.result[:100]} of this dispatcher"
    if not (_did(result, Change.CREATES, entry) or _did(result, Change.UPDATES, entry)):
        return f"the result of {result.id} did not write it"
    if rendered(result) != data:
        return f"it differs from what the result of {result.id} wrote"
    return ""
