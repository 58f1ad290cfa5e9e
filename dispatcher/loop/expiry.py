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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

from dispatcher.errors import Problem
from dispatcher.loop.expiry_attempts import Attempt, AttemptIds, next_attempt
from dispatcher.loop.foreign import InGit
from dispatcher.loop.inventory import InventoryEntry, InventoryReader
from dispatcher.loop.inventory_search import Locate
from dispatcher.model.action import MAX_ACTION_BYTES, Action, parse_action
from dispatcher.model.sure_time import SureTime
from dispatcher.model.times import epoch
from dispatcher.ops_repo.changes import Formulas
from dispatcher.sources import Look, SourceNote, SourceState, Wanted, Wants, problems_of
from dispatcher.sources.base import WANTED_LIMIT

KIND = "expiry"

ID_CHARACTERS = 70
"""Characters of an entry's id that the id of the action has."""

NOTES = 100
"""Maximum of notes for people."""

MARKS = 300
"""Maximum of entries about which something is remembered; the ledger holds no more."""

_BEGINNING = "expire-"


class Repo(Protocol):
    """What of the ops repo is read."""

    def read_present(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]: ...


class Expiry:
    """Wants what has expired destroyed. See ``dispatcher.sources.base.Source``.

    Args:
        repo: the ops repo.
        inventory: what exists.
        secret: of the ids; see ``AttemptIds``. Raises ``Unavailable`` or ``Denied``.
        given: which keys of an entry a destroying formula, by its name, wants as params.
        limit: maximum bytes of an action file.
    """

    def __init__(
        self,
        repo: Repo,
        inventory: InventoryReader,
        secret: Callable[[], bytes],
        given: Callable[[str, Formulas], Collection[str]],
        *,
        limit: int = MAX_ACTION_BYTES,
    ) -> None:
        self._repo, self._inventory, self._secret = repo, inventory, secret
        self._given, self._limit = given, limit

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
        attempts = self._attempts(look, ended)
        later = [at for at, _ in lasting if at > look.now]
        later += [attempt.at for attempt in attempts.values() if attempt.at is not None]
        later += _soon(over, sure, look.now)
        marks = {_mark_of(stem_of(e)): m for e in ended if (m := attempts[e.path].mark)}
        marks = dict(list(marks.items())[:MARKS])
        due = [entry for entry in ended if attempts[entry.path].action_id]
        wanted: list[Wanted] = []
        notes = list(_held(len(over) - len(ended), sure))
        for entry in due:
            if len(wanted) == WANTED_LIMIT:
                break
            made = self._made(entry, attempts[entry.path].action_id, look.formulas)
            if isinstance(made, Wanted):
                wanted.append(made)
            else:
                notes.append(made)
        troubled = [entry for entry in ended if attempts[entry.path].trouble]
        notes += [_limited(entry, attempts[entry.path].trouble) for entry in troubled]
        return Wants(
            actions=tuple(wanted),
            marks=marks,
            next_at=min(later, default=None),
            notes=tuple(notes[:NOTES]),
        )

    def _attempts(self, look: Look, ended: Iterable[InventoryEntry]) -> dict[str, Attempt]:
        """What is to be done about each of these, by path."""
        expired = {entry.path: entry for entry in ended}
        if not expired:
            return {}
        secret, named = self._secret(), dict[str, list[str]]()
        for action_id in look.ids():
            if action_id.startswith(_BEGINNING):
                for stem in {action_id, action_id.rpartition("-")[0]}:
                    named.setdefault(stem, []).append(action_id)
        attempts = {}
        for path, entry in expired.items():
            ids = AttemptIds(stem=stem_of(entry), secret=secret)
            mark = look.marks.get(_mark_of(ids.stem), "")
            attempts[path] = next_attempt(look, ids, named.get(ids.stem, ()), mark=mark)
        return attempts

    def _made(
        self, entry: InventoryEntry, action_id: str, formulas: Formulas
    ) -> Wanted | SourceNote:
        """The action that destroys an entry, or why there is none: one entry with odd values keeps no other
        from expiring.
        """
        action = self._action(entry, formulas)
        if action is None:
            return _broken(entry, _why_not(entry))
        wanted = _wanted(entry, action, action_id)
        problems = problems_of(KIND, wanted, limit=self._limit)
        return _broken(entry, _unfit(problems[0])) if problems else wanted

    def _action(self, entry: InventoryEntry, formulas: Formulas) -> Mapping[str, object] | None:
        """The keys of the action that destroys an entry."""
        if not entry.destroyed_by:
            return None
        creator = self._creator(entry)
        if creator is None:
            return None
        wanted = self._given(entry.destroyed_by, formulas)
        more = {
            key: entry.entry[key] for key in wanted if isinstance(entry.entry.get(key), str | int)
        }
        given: dict[str, Any] = {
            "formula": entry.destroyed_by,
            "context": f"{entry.kind} {entry.id} expired at {entry.expires_at}",
            "secrets": list(creator.secrets),
            "params": {**more, "id": entry.id},
        }
        return {**given, "mounts": list(creator.mounts)} if creator.mounts else given

    def _creator(self, entry: InventoryEntry) -> Action | None:
        """The action whose run wrote the entry, as it ran, by the blob that the signed result names:
        whoever may push can change or remove its file.
        """
        blob = entry.action_blob
        data = self._repo.read_present([blob], limit=MAX_ACTION_BYTES).get(blob)
        if not isinstance(data, bytes):
            return None
        action = parse_action(data, path="", stem=entry.result)
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


def _soon(over: Iterable[InventoryEntry], sure: SureTime, now: float) -> Iterator[float]:
    """When those are over for sure that are over by the clock of this machine alone: Vault's may be
    a little behind, and shows whole seconds.
    """
    return (now + at - sure.now for each in over if (at := each.expires_s or 0.0) > sure.now)


def _mark_of(stem: str) -> str:
    """The name of the mark about an entry: short, since there may be many."""
    return stem.rpartition("-")[2]


def stem_of(entry: InventoryEntry) -> str:
    """With what the ids of the actions begin that destroy this content of an entry."""
    whole = f"{entry.kind}/{entry.id}/{entry.blob}"
    code = hashlib.sha256(whole.encode()).hexdigest()[:12]
    return f"{_BEGINNING}{entry.id[:ID_CHARACTERS]}-{code}"


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
    return f"git no longer has the action {entry.result}, which wrote it, as it ran"


def _unfit(problem: Problem) -> str:
    what = f"the action that would destroy it is invalid by what its entry says: {problem.message}"
    return f"{what}; destroy it by an action of your own"


def _broken(entry: InventoryEntry, reason: str) -> SourceNote:
    return SourceNote(kind=KIND, name=entry.id, state=SourceState.BROKEN, reason=reason)


def _limited(entry: InventoryEntry, reason: str) -> SourceNote:
    return SourceNote(kind=KIND, name=entry.id, state=SourceState.LIMITED, reason=reason)
