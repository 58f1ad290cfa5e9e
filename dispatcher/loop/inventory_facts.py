"""What signed results say about the inventory: verified once for each blob.

A cache (``dispatcher.loop.inventory_cache``) keeps it over restarts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from dispatcher.attestation import git_blob
from dispatcher.loop.verifying import Verifier
from dispatcher.model.inventory import Change
from dispatcher.model.inventory_entry import rendered
from dispatcher.model.result import RESULT_LIMIT, SEQUENCE_MAX, Result
from dispatcher.model.times import epoch

READ_AT_ONCE = 500
"""Results that are read and verified together."""

FOREIGN_S = 60.0
"""Seconds for which a result that is not ours is not verified again."""

FOREIGN_TIMES = 20.0
"""The same, as a multiple of the time that it took: whoever fills the history takes a part of a thread."""

Named = tuple[str, str]
"""Kind and id of an entry."""

Claims = Mapping[Named, Mapping[str, None]]
"""By entry the ids of results that claim to have changed it, in the messages of commits."""


class Blobs(Protocol):
    """What of the ops repo is read."""

    def read_present(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]: ...


class Cache(Protocol):
    """Keeps what was verified; see ``dispatcher.loop.inventory_cache``."""

    def facts(self, keys: str) -> dict[tuple[str, str], Fact]: ...
    def add(self, keys: str, facts: Mapping[tuple[str, str], Fact]) -> None: ...


@dataclass(frozen=True, slots=True)
class Fact:
    """What one result of ours did to the inventory.

    Attributes:
        action_id, action_blob: of the action that it is the result of.
        at: when, RFC 3339.
        change: what it did, a ``Change``; "" for nothing.
        kind, id: of the entry.
        blob: hash (hex) of the entry's file as it wrote it; "" if it wrote none.
        file: that file.
        sequence, claim_sequence: see ``ResultInventory``; 0 if the result has none.
        commit: hash (hex) of the head of the branch when the run was decided; "" if the result has none.
    """

    action_id: str
    action_blob: str
    at: str
    change: str = ""
    kind: str = ""
    id: str = ""
    blob: str = ""
    file: str = ""
    sequence: int = 0
    commit: str = ""
    claim_sequence: int = 0

    def as_row(self) -> tuple[str | int, ...]:
        """Its attributes, in their order."""
        bare = (self.action_id, self.action_blob, self.at)
        entry = (self.change, self.kind, self.id, self.blob, self.file)
        return (*bare, *entry, self.sequence, self.commit, self.claim_sequence)

    @property
    def order(self) -> int:
        """By which it is before or after others. Of results without a sequence it is their time."""
        if self.sequence:
            return self.sequence
        try:
            return sequence_at(epoch(self.at))
        except (ValueError, OverflowError):
            return 0

    @property
    def destroys(self) -> bool:
        """Whether it took the entry away."""
        return self.change == Change.DESTROYS

    @property
    def creates(self) -> bool:
        """Whether it made the entry."""
        return self.change == Change.CREATES


def fact_of(result: Result, *, like: str) -> Fact:
    """What a verified result says.

    Args:
        like: a hash of the repository, for the kind of hash.
    """
    bare = Fact(result.id, result.blob, result.timestamp, commit=result.commit)
    done = result.inventory
    if done is None:
        return bare
    about = replace(
        bare,
        change=done.change.value,
        kind=done.kind,
        id=done.id,
        sequence=done.sequence,
        claim_sequence=done.claim_sequence,
    )
    if done.change is Change.DESTROYS:
        return about
    data = rendered(result)
    return replace(about, blob=git_blob(data, like=like), file=data.decode())


def sequence_at(now: float) -> int:
    """The sequence of a result that is made at a time (seconds since the epoch), if no greater one was."""
    return min(max(int(now * 1_000), 0), SEQUENCE_MAX)


def merged(claims: Claims, more: Claims) -> dict[Named, Mapping[str, None]]:
    """Both, in a new table; tables of entries that did not change are shared."""
    both = dict(claims)
    for named, ids in more.items():
        both[named] = {**both.get(named, {}), **ids}
    return both


def latest(facts: Iterable[Fact]) -> Fact | None:
    """The fact that wrote an entry last; None if none did. Not by the clock, which may have been set
    back: by the sequence that the results attest.
    """
    return max((fact for fact in facts if fact.blob), key=lambda fact: fact.order, default=None)


class FactReader:
    """Verifies results, and reads what they say. Not thread-safe.

    Attributes:
        greatest: sequence that was read; may be read from any thread.

    Args:
        repo: has the results.
        verifier: recognizes ours.
        cache: of what was verified.
    """

    def __init__(self, repo: Blobs, verifier: Verifier, cache: Cache) -> None:
        self._repo, self._verifier, self._cache = repo, verifier, cache
        self._keys: str | None = None
        self._known: dict[tuple[str, str], Fact] = {}
        self._by_action: dict[str, Fact] = {}
        self._foreign: dict[tuple[str, str], float] = {}
        self.greatest = 0

    def verified(self, blobs: Mapping[str, str]) -> dict[str, Fact]:
        """What results of ours say, by action id.

        Args:
            blobs: hash (hex) of the file of each result, by action id.
        """
        if not blobs:
            return {}
        self._follow_keys()
        now = time.monotonic()
        new = [
            (blob, action_id)
            for action_id, blob in blobs.items()
            if (blob, action_id) not in self._known
            and now >= self._foreign.get((blob, action_id), 0.0)
        ]
        rest = iter(new)
        while some := list(islice(rest, READ_AT_ONCE)):
            self._verify(some)
        return {i: fact for i, blob in blobs.items() if (fact := self._known.get((blob, i)))}

    def remembered(self, action_ids: Iterable[str]) -> dict[str, Fact]:
        """What results of ours said that were verified before, whatever became of their files."""
        wanted = list(action_ids)
        if wanted:  # before there is anything to verify, there may be no key
            self._follow_keys()
        return {i: fact for i in wanted if (fact := self._by_action.get(i))}

    def of_text(self, text: str, action_id: str, *, like: str) -> Fact | None:
        """What a text says, if it is a result of ours for this action."""
        return self._ours(text.encode(), action_id, like=like)

    def _verify(self, some: Sequence[tuple[str, str]]) -> None:
        began = time.monotonic()
        contents = self._repo.read_present({blob for blob, _ in some}, limit=RESULT_LIMIT)
        facts, foreign = {}, []
        for blob, action_id in some:
            data = contents.get(blob)
            fact = self._ours(data, action_id, like=blob) if isinstance(data, bytes) else None
            if fact is None:
                foreign.append((blob, action_id))
            else:
                facts[blob, action_id] = fact
        self._follow_keys()  # another key may have been fetched
        now = time.monotonic()
        until = now + max(FOREIGN_S, FOREIGN_TIMES * (now - began))
        self._foreign.update(dict.fromkeys(foreign, until))
        self._remember(facts)
        if facts and self._keys:
            self._cache.add(self._keys, facts)

    def _follow_keys(self) -> None:
        keys = self._verifier.keys_digest()
        if keys != self._keys:
            self._keys = keys
            self._known, self._by_action = {}, {}
            self._remember(self._cache.facts(keys) if keys else {})
            self._foreign.clear()

    def _remember(self, facts: Mapping[tuple[str, str], Fact]) -> None:
        self._known.update(facts)
        if self._verifier.signs:
            self._by_action.update({fact.action_id: fact for fact in facts.values()})
        self.greatest = max([self.greatest, *(fact.sequence for fact in facts.values())])

    def _ours(self, data: bytes, action_id: str, *, like: str) -> Fact | None:
        if self._verifier.signs and not self._verifier.ours(data, action_id=action_id, blob=None):
            return None
        try:
            result = Result.model_validate_json(data)
        except ValueError:
            return None
        return fact_of(result, like=like) if result.id == action_id else None
