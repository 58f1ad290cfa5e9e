"""The source of actions that destroy what has reached the end of its lifetime.

A run that creates something may give it a lifetime, ``outputs.inventory.expires_at``. Once that is over,
the action that destroys it is written here, once for each content of the entry: a later update with
another time is another content. If it fails it is repeated (``dispatcher.loop.expiry_attempts``). The creating action was approved with its lifetime, so
``dispatcher.gate.expiry`` needs no further approval unless the destroying formula is of a higher tier.
The action has the secrets and mounts of the one that wrote the entry, which is read as it ran.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

from dispatcher.attestation import git_blob
from dispatcher.loop.expiry_attempts import Attempt, next_attempt
from dispatcher.loop.foreign import InGit, in_git
from dispatcher.loop.inventory import Claimed, InventoryEntry, InventoryReader
from dispatcher.loop.inventory import Repo as InventoryRepo
from dispatcher.loop.verifying import Verifier
from dispatcher.model.action import MAX_ACTION_BYTES, Action, parse_action
from dispatcher.ops_repo import Tree
from dispatcher.sources import Look, SourceNote, SourceState, Wanted, Wants
from dispatcher.sources.base import WANTED_LIMIT

KIND = "expiry"

ID_CHARACTERS = 70
"""Characters of an entry's id that the id of the action has."""


class Repo(InventoryRepo, Protocol):
    """What of the ops repo is read."""

    def tree_of(self, commit: str, action_id: str) -> Tree: ...


class Expiry:
    """Wants what has expired destroyed. See ``dispatcher.sources.base.Source``.

    Args:
        repo: the ops repo.
        verifier: recognizes our results.
    """

    def __init__(self, repo: Repo, verifier: Verifier) -> None:
        self._repo = repo
        self._reader = InventoryReader(repo, verifier)

    @property
    def kind(self) -> str:
        """``expiry``."""
        return KIND

    def look(self, look: Look) -> Wants:
        """See ``Source``. Entries whose time has not come are read, and not checked yet."""
        lasting = [
            (at, each)
            for each in self._reader.claimed(look.commit)
            if (at := each.entry.expires_s) is not None and not each.entry.problem
        ]
        over = [each for at, each in sorted(lasting, key=_when) if at <= look.now]
        attempts = {each.entry.path: next_attempt(look, action_id_of(each.entry)) for each in over}
        due = [each for each in over if _is_news(attempts[each.entry.path])]
        later = [at for at, _ in lasting if at > look.now]
        later += [attempt.at for attempt in attempts.values() if attempt.at is not None]
        checked = self._reader.believed(
            due[:WANTED_LIMIT], commit=look.commit, locate=lambda i: self._locate(look.commit, i)
        )
        wanted, notes = [], []
        for entry in checked:
            attempt = attempts[entry.path]
            action = self._action(look.commit, entry) if not entry.problem else None
            if action is None:
                notes.append(_broken(entry, entry.problem or _why_not(entry)))
                continue
            if attempt.action_id:
                wanted.append(_wanted(entry, action, attempt.action_id))
            if attempt.trouble:
                notes.append(_limited(entry, attempt.trouble))
        return Wants(actions=tuple(wanted), next_at=min(later, default=None), notes=tuple(notes))

    def _locate(self, commit: str, action_id: str) -> InGit | None:
        return in_git(self._repo.tree_of(commit, action_id), action_id)

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


def _when(lasting: tuple[float, Claimed]) -> float:
    return lasting[0]


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
