"""The source of actions that destroy what has reached the end of its lifetime.

A run that creates something may give it a lifetime, ``outputs.inventory.expires_at``. Once that is over,
the action that destroys it is written here, once for each content of the entry: a later update with
another time is another content. If it fails it is repeated (``dispatcher.loop.expiry_attempts``). The
creating action was approved with its lifetime, so ``dispatcher.gate.expiry`` needs no further approval
unless the destroying formula is of a higher tier. Nothing is destroyed by a clock that jumped
(``dispatcher.loop.steady_clock``).
The action has the secrets and mounts of the one that wrote the entry, which is read as it ran.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from dispatcher.attestation import git_blob
from dispatcher.loop.expiry_attempts import Attempt, next_attempt
from dispatcher.loop.foreign import InGit
from dispatcher.loop.inventory import InventoryEntry, InventoryReader, Locate
from dispatcher.model.action import MAX_ACTION_BYTES, Action, parse_action
from dispatcher.model.sure_time import SureTime
from dispatcher.model.times import epoch
from dispatcher.ops_repo import Tree
from dispatcher.sources import Look, SourceNote, SourceState, Wanted, Wants
from dispatcher.sources.base import WANTED_LIMIT

KIND = "expiry"

ID_CHARACTERS = 70
"""Characters of an entry's id that the id of the action has."""


class Repo(Protocol):
    """What of the ops repo is read."""

    def tree_of(self, commit: str, action_id: str) -> Tree: ...
    def read_file(self, commit: str, path: str, *, limit: int) -> bytes | int | None: ...


class Expiry:
    """Wants what has expired destroyed. See ``dispatcher.sources.base.Source``.

    Args:
        repo: the ops repo.
        inventory: what exists.
    """

    def __init__(self, repo: Repo, inventory: InventoryReader) -> None:
        self._repo, self._inventory = repo, inventory

    @property
    def kind(self) -> str:
        """``expiry``."""
        return KIND

    def look(self, look: Look) -> Wants:
        """See ``Source``."""
        entries = self._inventory.read(look.commit, _locate(look), kept=look.kept_results)
        lasting = [
            (at, entry)
            for entry in entries
            if (at := entry.expires_s) is not None and not entry.problem
        ]
        over = [entry for at, entry in sorted(lasting, key=_when) if at <= look.now]
        sure = look.sure() if over else SureTime(now=look.now)
        ended = [entry for entry in over if _is_over(entry, sure)]
        attempts = {entry.path: next_attempt(look, action_id_of(entry)) for entry in ended}
        due = [entry for entry in ended if _is_news(attempts[entry.path])]
        later = [at for at, _ in lasting if at > look.now]
        later += [attempt.at for attempt in attempts.values() if attempt.at is not None]
        wanted, notes = [], list(_held(len(over) - len(ended), sure))
        for entry in due[:WANTED_LIMIT]:
            attempt = attempts[entry.path]
            action = self._action(look.commit, entry)
            if action is None:
                notes.append(_broken(entry, _why_not(entry)))
                continue
            if attempt.action_id:
                wanted.append(_wanted(entry, action, attempt.action_id))
            if attempt.trouble:
                notes.append(_limited(entry, attempt.trouble))
        return Wants(actions=tuple(wanted), next_at=min(later, default=None), notes=tuple(notes))

    def _action(self, commit: str, entry: InventoryEntry) -> Mapping[str, object] | None:
        """The keys of the action that destroys an entry."""
        if not entry.destroyed_by:
            return None
        creator = self._creator(commit, entry)
        if creator is None:
            return None
        given: dict[str, Any] = {
            "formula": entry.destroyed_by,
            "context": f"{entry.kind} {entry.id} expired at {entry.expires_at}",
            "secrets": list(creator.secrets),
            "params": {"id": entry.id},
        }
        return {**given, "mounts": list(creator.mounts)} if creator.mounts else given

    def _creator(self, commit: str, entry: InventoryEntry) -> Action | None:
        """The action whose run wrote the entry, as it ran: whoever may push can change its file."""
        path = self._repo.tree_of(commit, entry.result).action_path(entry.result)
        data = self._repo.read_file(commit, path, limit=MAX_ACTION_BYTES) if path else None
        if (
            not isinstance(data, bytes)
            or git_blob(data, like=entry.action_blob) != entry.action_blob
        ):
            return None
        action = parse_action(data, path=path or "", stem=entry.result)
        return action if isinstance(action, Action) else None


def _locate(look: Look) -> Locate:
    """Where results are at a look's commit."""

    def locate(action_id: str) -> InGit | None:
        file = look.result_file(action_id)
        if file is None:
            return None
        path, blob = file
        return InGit(action_id=action_id, commit=look.commit, path=path, blob=blob)

    return locate


def _when(lasting: tuple[float, InventoryEntry]) -> float:
    return lasting[0]


def _is_over(entry: InventoryEntry, sure: SureTime) -> bool:
    """Whether a lifetime is over by clocks that can be relied on."""
    at = entry.expires_s
    return at is not None and sure.is_over(at, written_at=epoch(entry.at))


def _held(count: int, sure: SureTime) -> Iterator[SourceNote]:
    """That entries stay although their time is over by the clock of this machine."""
    if count and sure.doubt:
        reason = f"{count} entries whose time is over are not destroyed yet: {sure.doubt}"
        yield SourceNote(kind=KIND, name="clock", state=SourceState.LIMITED, reason=reason)


def _is_news(attempt: Attempt) -> bool:
    """Whether it is worth to check the entry: something is to be done, or to be said."""
    return bool(attempt.action_id or attempt.trouble)


def action_id_of(entry: InventoryEntry) -> str:
    """The id of the first action that destroys this content of an entry."""
    whole = f"{entry.kind}/{entry.id}/{entry.blob}"
    return f"expire-{entry.id[:ID_CHARACTERS]}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def _wanted(entry: InventoryEntry, action: Mapping[str, object], action_id: str) -> Wanted:
    return Wanted(
        action_id=action_id,
        action=action,
        name=entry.id,
        occasion=f"{entry.kind} expired at {entry.expires_at}"[:200],
        definition=entry.path,
        blob=entry.blob,
    )


def _why_not(entry: InventoryEntry) -> str:
    if not entry.destroyed_by:
        return "it names no formula that destroys it"
    return f"the file of {entry.result}, which wrote it, was changed or removed since it ran"


def _broken(entry: InventoryEntry, reason: str) -> SourceNote:
    return SourceNote(kind=KIND, name=entry.id, state=SourceState.BROKEN, reason=reason)


def _limited(entry: InventoryEntry, reason: str) -> SourceNote:
    return SourceNote(kind=KIND, name=entry.id, state=SourceState.LIMITED, reason=reason)
