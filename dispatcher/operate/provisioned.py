"""What a provisioner made, of whatever kind: as the inventory has it, and as actions are creating it.

Desktops and stacks are kinds of it (``desktops``, ``stacks``). Creating, destroying and reaping are actions like
any other; what is here reads, and writes their text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Generic, TypeVar

import tomli_w

from dispatcher.errors import Conflict, Exit, NotFound, PermanentError, TemporaryError
from dispatcher.loop.inventory import InventoryEntry, InventoryReader
from dispatcher.loop.inventory_search import Kept
from dispatcher.model.action import MAX_ACTION_BYTES, Action, parse_action
from dispatcher.model.names import is_id
from dispatcher.model.times import rfc3339
from dispatcher.operate.files import valid_open_actions
from dispatcher.operate.repetitions import is_used, numbered
from dispatcher.operate.submission import AlreadyThere
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.status.overview import Overview, State
from dispatcher.toml.explain import did_you_mean
from dispatcher.toml.source import quoted


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a provisioner makes.

    Attributes:
        name: of the kind in the inventory, of the command, and for people.
        create, destroy: names of the formulas.
        given: keys of an entry that are params of ``destroy``.
    """

    name: str
    create: str
    destroy: str
    given: tuple[str, ...] = ()


CREATING, DESTROYED, UNKNOWN = "CREATING", "DESTROYED", "UNKNOWN"

_TIMEOUT_MINUTES = 60
_LAST = 9_999
_AT_ONCE = 1_000

KNOWN_RUNS = 1_000
"""Runs that an action that reaps may name, by its schema."""


class BeingCreated(TemporaryError):
    """The action that creates it has not ended."""


class Unverified(PermanentError):
    """Something would be removed by what is not believed, or not verified."""

    exit_code = Exit.NOPERM


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """One thing that a run created, as it is shown.

    Attributes:
        UNFINISHED: states that an entry has while a run works on it.
        id: of the action that creates it.
        state: of the life cycle by its entry; ``CREATING`` while there is none, ``DESTROYED`` when there is
            none any more, ``UNKNOWN`` if the entry is not believed.
        problem: why the entry is not believed; "" if it is.
        entry: of the inventory; None while it is being created.
        ended_by: id of the action that destroyed it, or "".
        waits: the state of the action that creates it, unless it runs; "" if it is not known here.
        progress: what its run last reported: ``stage``, ``percent``, ``detail`` and ``at``; None for nothing.
    """

    UNFINISHED: ClassVar[frozenset[str]] = frozenset()

    id: str
    state: str
    problem: str = ""
    entry: InventoryEntry | None = None
    ended_by: str = ""
    waits: str = ""
    progress: Mapping[str, object] | None = None

    @property
    def shown_state(self) -> str:
        """The state for people: of one that is being created, with how far it is."""
        if self.progress is not None:
            percent = self.progress.get("percent")
            parts = [self.state, str(self.progress.get("stage") or "")]
            parts += [f"{percent:.0f} %"] if isinstance(percent, int | float) else []
            return " ".join(part for part in parts if part)
        if self.unfinished:
            return f"{self.state} (abandoned)"
        return f"{self.state} ({self.waits})" if self.waits else self.state

    @property
    def unfinished(self) -> bool:
        """Whether its entry is that of a run that was killed: nobody works on it, and it may be billed."""
        return self.entry is not None and self.state in self.UNFINISHED

    def text(self, key: str) -> str:
        """A text of the entry, or "" if there is none that is believed."""
        value = self.entry.entry.get(key) if self.entry and not self.problem else None
        return value[:300] if isinstance(value, str) else ""

    def record(self, shown: Sequence[str]) -> dict[str, Any]:
        """Its record, for ``--json``.

        Args:
            shown: keys of texts of the entry that it repeats.
        """
        entry = self.entry
        return {
            "id": self.id,
            "state": self.state,
            "believed": None if entry is None else not self.problem,
            "problem": self.problem or None,
            "unfinished": self.unfinished,
            **{key: self.text(key) or None for key in shown},
            "since": entry.at or None if entry else None,
            "ended_by": self.ended_by or None,
            "progress": dict(self.progress) if self.progress else None,
            "entry": dict(entry.entry) if entry and not self.problem else None,
        }


R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, kw_only=True)
class Resources(Generic[R]):
    """Reads what a provisioner made from the ops repo.

    Args:
        tree: at the present head.
        reader: with the verifier of results.
        overview: of a dispatcher on this machine; None if there is none.
        kind: what is read.
        make: the class of one.
        kept: results that a ledger keeps, where it is within reach.
    """

    repo: OpsRepo
    tree: Tree
    reader: InventoryReader
    kind: Kind
    make: type[R]
    overview: Overview | None = None
    kept: Kept | None = None

    def all(self, *, destroyed: bool = False) -> list[R]:
        """Those that exist and are being created; also those that were destroyed, if so wanted."""
        entries = self.entries()
        found = {entry.id: self._of(entry) for entry in entries}
        for action in valid_open_actions(self.repo, self.tree):
            if action.formula == self.kind.create:
                found.setdefault(action.id, self._being_created(action.id))
        if destroyed:
            for entry, ended_by in self.reader.destroyed(
                self.tree, kind=self.kind.name, kept=self.kept
            ):
                gone = self.make(id=entry.id, state=DESTROYED, entry=entry, ended_by=ended_by)
                found.setdefault(entry.id, gone)
        return sorted(found.values(), key=lambda each: each.id)

    def entries(self) -> list[InventoryEntry]:
        """Those of the inventory, and files that are none."""
        return self.reader.all(self.tree, kind=self.kind.name, kept=self.kept)

    def _being_created(self, action_id: str) -> R:
        action = self.overview.find(action_id) if self.overview is not None else None
        if action is None:
            return self.make(id=action_id, state=CREATING)
        waits = "" if action.state is State.RUNNING else action.state.value
        return self.make(id=action_id, state=CREATING, waits=waits, progress=action.progress)

    def get(self, entry_id: str) -> R:
        """One of them, also one that was destroyed.

        Raises:
            NotFound: there is none of this id.
        """
        resources = {each.id: each for each in self.all(destroyed=True)}
        if entry_id in resources:
            return resources[entry_id]
        standing = [each for each, found in resources.items() if found.state != DESTROYED]
        if is_id(entry_id) and is_used(self.tree, entry_id):
            raise NotFound(
                f"action {entry_id} left no {self.kind.name}",
                remedy=f"'disinto status {entry_id}' shows how it ended.",
            )
        raise NotFound(
            f"there is no {self.kind.name} {quoted(entry_id)}",
            remedy=did_you_mean(entry_id, standing)
            or f"'disinto {self.kind.name} list' shows them.",
        )

    def standing(self, entry_id: str) -> InventoryEntry:
        """The entry of one that exists, believed or not.

        Raises:
            NotFound: there is none, or it was destroyed.
            BeingCreated: it is not entered yet.
        """
        resource = self.get(entry_id)
        if resource.state == DESTROYED:
            raise NotFound(f"{self.kind.name} {entry_id} was destroyed by {resource.ended_by}")
        if resource.entry is None:
            raise BeingCreated(
                f"{self.kind.name} {entry_id} is being created",
                remedy=f"'disinto watch {entry_id}' follows it.",
            )
        return resource.entry

    def refuse_second_destruction(self, entry_id: str) -> None:
        """Raises ``AlreadyThere`` if an open action destroys it."""
        self.refuse_second(self.kind.destroy, entry_id, does="destroys")

    def refuse_second(self, formula: str, entry_id: str, *, does: str) -> None:
        """Raises ``AlreadyThere`` if an open action of this formula is about it.

        Args:
            does: what that action does to it, a verb.
        """
        for action in valid_open_actions(self.repo, self.tree):
            if action.formula == formula and action.params.get("id") == entry_id:
                raise AlreadyThere(
                    f"{action.id} {does} {entry_id} already",
                    remedy=f"'disinto watch {action.id}' follows it.",
                )

    def free_id(self, wanted: str) -> str:
        """An id that is not used: this one, or with ``-2`` and so on.

        Raises:
            Conflict: all are used.
        """
        for number in range(1, _LAST + 1):
            new_id = wanted if number == 1 else numbered(wanted, number)
            if not is_used(self.tree, new_id):
                return new_id
        raise Conflict(
            f"all ids from {wanted} to {wanted}-{_LAST} are used", remedy="Pass another --id."
        )

    def _unended(self) -> set[str]:
        """Run keys of actions that create one and have not ended by a signed result, by the history: whoever
        may push can edit or remove the file of an action that runs, or put a result beside it.
        """
        history = self.repo.action_versions(self.tree.commit)
        blobs = ((i, blob) for i, versions in history.items() for blob in versions)
        creating: dict[str, set[str]] = {}
        while some := list(islice(blobs, _AT_ONCE)):
            texts = self.repo.read_present({blob for _, blob in some}, limit=MAX_ACTION_BYTES)
            for action_id, blob in some:
                if self._creates(texts.get(blob), action_id):
                    creating.setdefault(action_id, set()).add(blob)
        ended = self.reader.ended(self.tree, creating)
        return {f"{i}.{blob}" for i in creating.keys() - ended for blob in creating[i]}

    def _creates(self, data: bytes | int | None, action_id: str) -> bool:
        """Whether these bytes are the file of an action that creates one."""
        # A quick look before the parsing; in TOML a backslash may stand for any character.
        if not isinstance(data, bytes) or not (self.kind.create.encode() in data or b"\\" in data):
            return False
        action = parse_action(data, path="", stem=action_id)
        return isinstance(action, Action) and action.formula == self.kind.create

    def reap_params(
        self, *, now: float, run_keys: Collection[str] | None = None, remove: bool = False
    ) -> dict[str, Any]:
        """``[params]`` of the action that reaps: what is known, by the inventory, and by the ledger or else the
        history.

        Args:
            now: seconds since the epoch, from before the inventory was read.
            run_keys: of the runs that the ledger has, from before the inventory was read; None without a ledger.

        Raises:
            Unverified: machines are to be removed, and an entry is not believed.
            Conflict: these are more than an action may name.
        """
        entries = self.entries()
        doubtful = [entry.id for entry in entries if entry.problem]
        if doubtful and remove:
            raise Unverified(
                f"the inventory entries of {', '.join(doubtful)} are not believed, so what they name "
                "would count as left over",
                remedy=f"'disinto inventory {self.kind.name}' shows why. Restore them, or reap without --remove.",
            )
        runs = {str(e.entry["run_key"]) for e in entries if self.needs_run_key(e)}
        opened = {i: f"{i}.{e.blob}" for i, e in self.tree.open.items() if e.regular}
        if run_keys is None:
            in_progress = {*opened.values(), *self._unended()}
        else:  # a claim outlives every push, so what was pushed once says nothing more
            creating = (
                action.id
                for action in valid_open_actions(self.repo, self.tree)
                if action.formula == self.kind.create
            )
            in_progress = {*run_keys, *(opened[i] for i in creating if i in opened)}
        known_runs = sorted({*_run_keys(runs), *_run_keys(in_progress)})
        if len(known_runs) > KNOWN_RUNS:
            raise Conflict(
                f"{len(known_runs):,} runs may have made something, and an action can name {KNOWN_RUNS:,}",
                remedy="Reap where the ledger is: it tells which of them ran."
                if run_keys is None
                else "Wait until fewer actions are open, or remove those that are not wanted.",
            )
        params: dict[str, Any] = {"listed_at": rfc3339(now), "known_runs": known_runs}
        return params | ({"remove": True} if remove else {})

    def needs_run_key(self, entry: InventoryEntry) -> bool:
        """Whether reaping knows what an entry is made of by its run alone."""
        return bool(entry.entry.get("run_key"))

    def _of(self, entry: InventoryEntry) -> R:
        if entry.problem:
            return self.make(id=entry.id, state=UNKNOWN, problem=entry.problem, entry=entry)
        state = entry.entry.get("state")
        return self.make(id=entry.id, state=str(state)[:20] if state else UNKNOWN, entry=entry)


def action_text(
    action_id: str,
    formula: str,
    context: str,
    secrets: Sequence[str],
    params: Mapping[str, Any],
    *,
    timeout_minutes: int = _TIMEOUT_MINUTES,
) -> bytes:
    """The file of an action."""
    plain = {
        "id": action_id,
        "formula": formula,
        "context": context,
        "secrets": list(secrets),
        "timeout_minutes": timeout_minutes,
        "params": dict(params),
    }
    return tomli_w.dumps(plain).encode()


def _run_keys(candidates: Iterable[str]) -> Iterable[str]:
    """Those that can be in ``[params]``; a forged entry may have anything."""
    return (key for key in candidates if is_id(key.partition(".")[0]) and key.count(".") == 1)
