"""The part of an ops repo's tree that matters, kept in memory and moved on by differences.

Pure: ``dispatcher.ops_repo.reader`` feeds it with what git says. An *event* is a path with what is
there now, or None where nothing is there any more.

Of ``vault/done`` only the files in it and in its months (``YYYY-MM``) count.

A file whose name is no valid id is no action, no result and no formula: only its path is kept, so
that people can be warned, and so are other directories of ``vault/done``. Such a name may hold anything git allows, also what is not UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dispatcher.model.names import is_id
from dispatcher.model.run import FormulaKind
from dispatcher.ops_repo.records import Entry
from dispatcher.settings import ACTIONS_PATH, DONE_PATH, FORMULAS_PATH

ACTION_ENDING = ".toml"
RESULT_ENDING = ".result.json"
CANCEL_ENDING = ".cancel.toml"
FORMULA_ENDINGS = tuple(f".{kind}" for kind in FormulaKind)
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
WATCHED = (ACTIONS_PATH, DONE_PATH, FORMULAS_PATH)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionFile:
    """Anything in ``vault/actions`` that is named ``<id>.toml``, whatever it is.

    Attributes:
        id: the name without its ending.
        path: from the root of the repository.
        blob: object hash (hex); of a tree or a foreign commit where ``regular`` is False.
        mode: git's file mode.
    """

    id: str
    path: str
    blob: str
    mode: int

    @property
    def regular(self) -> bool:
        """True for a plain file; only such a one may be read and run."""
        return self.mode & 0o170000 == 0o100000


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultFile:
    """``<id>.result.json`` in ``vault/actions``. Its being there ends the action, whatever it is."""

    id: str
    path: str
    blob: str
    mode: int

    @property
    def regular(self) -> bool:
        return self.mode & 0o170000 == 0o100000


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelFile:
    """``<id>.cancel.toml`` in ``vault/actions``, whatever it is: see ``dispatcher.model.cancel_request``."""

    id: str
    path: str
    blob: str
    mode: int

    @property
    def regular(self) -> bool:
        return self.mode & 0o170000 == 0o100000


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """An action and its result, both still in ``vault/actions``."""

    action: ActionFile
    result: ResultFile


@dataclass(frozen=True, kw_only=True, slots=True)
class FormulaFile:
    """A formula in the ops repo.

    Attributes:
        name: the name without its ending.
        path, blob, mode: as for an action.
        kind: by the ending.
        ambiguous: True where ``<name>.sh`` and ``<name>.toml`` are both there; neither is meant.
    """

    name: str
    path: str
    blob: str
    mode: int
    kind: FormulaKind
    ambiguous: bool = False

    @property
    def regular(self) -> bool:
        return self.mode & 0o170000 == 0o100000


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What one step of a tree brought. Each is empty where nothing of the kind happened.

    Attributes:
        opened: ids that became open, in the order in which their commits arrived.
        changed: ids that are still open with other content or mode.
        withdrawn: ids that were open, whose file is gone, and that have no result.
        finished: ids that got a result in ``vault/actions``.
        archived: ids that came to ``vault/done``.
        formulas: names of formulas that came, changed or went.
        vanished: ids whose result was in the tree before and is nowhere in it now, with the path
            at which it was.
        arrived: ids whose result came or changed, wherever; not those that were only moved.
    """

    opened: tuple[str, ...] = ()
    changed: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    finished: frozenset[str] = frozenset()
    archived: frozenset[str] = frozenset()
    formulas: frozenset[str] = frozenset()
    vanished: Mapping[str, str] = field(default_factory=dict)
    arrived: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return any(
            (
                self.opened,
                self.changed,
                self.withdrawn,
                self.finished,
                self.archived,
                self.formulas,
                self.vanished,
                self.arrived,
            )
        )


Event = tuple[str, Entry | None]
"""A path, and what is there now; None where nothing is there any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """The way of a tree to a commit, worked out and not yet taken: see ``OpsRepo.difference``.

    Attributes:
        commit: where it leads.
        events: what differs, new actions in order of arrival; or, if ``whole``, all there is.
        arrived_at: when the commit was made that brought each new action, by path, seconds since
            the epoch; 0.0 for one that came long before.
    """

    commit: str
    events: tuple[Event, ...] = ()
    whole: bool = False
    arrived_at: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Formulas:
    """The formulas of a tree at one commit, for whoever must not hold the tree itself."""

    commit: str
    formulas: Mapping[str, FormulaFile]


@dataclass(frozen=True, slots=True)
class _State:
    """Where an id stands; compared before and after a step."""

    open: ActionFile | None
    in_actions: bool
    archived: bool
    has_result: bool
    result: str  # blob of the one in vault/actions, or ""
    result_path: str


@dataclass(kw_only=True)
class Tree:
    """The tree at one commit. Not thread-safe: one owner.

    Attributes:
        commit: the commit it shows; "" before the first step.
        open: actions in ``vault/actions`` without a result there, in order of arrival. One that
            is also in ``archived`` has run before and must not run again.
        finished: pairs that are still in ``vault/actions``.
        cancels: requests to cancel in ``vault/actions``, whether or not there is such an action.
        stray_results: results in ``vault/actions`` without their action.
        archived: ids with a file below ``vault/done``.
        formulas: by name.
        done_results, done_actions: for each archived id the folders below ``vault/done`` that
            hold its result, or its action; more than one only where somebody copied by hand.
        misnamed: paths of files with an ending of ours whose names are no valid ids, and of
            directories in ``vault/done`` that are no months. They may hold surrogates (bytes that are not UTF-8): see ``dispatcher.ops_repo.escaped``.
    """

    commit: str = ""
    open: dict[str, ActionFile] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=dict)
    stray_results: dict[str, ResultFile] = field(default_factory=dict)
    cancels: dict[str, CancelFile] = field(default_factory=dict)
    archived: set[str] = field(default_factory=set)
    formulas: dict[str, FormulaFile] = field(default_factory=dict)
    done_results: dict[str, tuple[str, ...]] = field(default_factory=dict)
    done_actions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    misnamed: set[str] = field(default_factory=set)
    _formula_files: dict[str, FormulaFile] = field(default_factory=dict, repr=False)
    _folders: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict, repr=False)

    def has_result(self, action_id: str) -> bool:
        """Whether a result of this id is anywhere in the tree."""
        return (
            action_id in self.finished
            or action_id in self.stray_results
            or action_id in self.done_results
        )

    def result_file(self, action_id: str) -> ResultFile | None:
        """The id's result in ``vault/actions``, or None."""
        pair = self.finished.get(action_id)
        return pair.result if pair else self.stray_results.get(action_id)

    def result_path(self, action_id: str) -> str | None:
        """Path of the id's result, in ``vault/actions`` or below ``vault/done``."""
        if action_id in self.finished:
            return self.finished[action_id].result.path
        if action_id in self.stray_results:
            return self.stray_results[action_id].path
        for folder in self.done_results.get(action_id, ()):
            return _done_path(folder, action_id, RESULT_ENDING)
        return None

    def action_path(self, action_id: str) -> str | None:
        """Path of the id's action, in ``vault/actions`` or below ``vault/done``."""
        if action_id in self.open:
            return self.open[action_id].path
        if action_id in self.finished:
            return self.finished[action_id].action.path
        for folder in self.done_actions.get(action_id, ()):
            return _done_path(folder, action_id, ACTION_ENDING)
        return None

    def paths(self) -> Iterator[str]:
        """Every path that the tree knows."""
        for action in self.open.values():
            yield action.path
        for pair in self.finished.values():
            yield pair.action.path
            yield pair.result.path
        for result in self.stray_results.values():
            yield result.path
        for request in self.cancels.values():
            yield request.path
        for places, ending in (
            (self.done_results, RESULT_ENDING),
            (self.done_actions, ACTION_ENDING),
        ):
            for action_id, folders in places.items():
                for folder in folders:
                    yield _done_path(folder, action_id, ending)
        yield from self._formula_files
        yield from self.misnamed

    def enter(self, delta: Delta) -> Changes:
        """Take a way that was worked out for this tree at its present commit."""
        if delta.whole:
            listing = {path: entry for path, entry in delta.events if entry is not None}
            return self.become(delta.commit, listing)
        return self.step(delta.commit, delta.events)

    def become(self, commit: str, listing: Mapping[str, Entry]) -> Changes:
        """Move to a commit of which everything is known. ``listing``: every watched path."""
        events: dict[str, Entry | None] = {p: None for p in self.paths() if p not in listing}
        events.update(listing)
        return self.step(commit, events.items())

    def step(self, commit: str, events: Iterable[Event]) -> Changes:
        """Move to a commit by what differs; an event that says what is known already is fine."""
        before: dict[str, _State] = {}
        formulas: set[str] = set()
        in_done: dict[str, str] = {}
        for path, entry in events:
            folder, _, name = path.rpartition("/")
            endings = _endings(folder)
            ending = next((e for e in endings if name.endswith(e)), None)
            if ending is None:
                self._other(path, folder, name, entry)
                continue
            stem = name.removesuffix(ending)
            if not is_id(stem):
                (self.misnamed.add if entry else self.misnamed.discard)(path)
            elif ending == CANCEL_ENDING:
                self._cancel(path, stem, entry)
            elif folder == ACTIONS_PATH:
                self._in_actions(path, stem, ending, entry, before)
            elif folder == FORMULAS_PATH:
                if self._formula(path, stem, FormulaKind(ending[1:]), entry):
                    formulas.add(stem)
            else:
                self._in_done(folder[len(DONE_PATH) + 1 :], stem, ending, entry, before)
                if entry and entry.mode != 0o040000 and ending == RESULT_ENDING:
                    in_done[stem] = entry.oid
        self.commit = commit
        return self._changes(before, frozenset(formulas), in_done)

    def _other(self, path: str, folder: str, name: str, entry: Entry | None) -> None:
        """What is nothing of ours; a directory of the archive that is not read is worth a warning."""
        if folder == DONE_PATH and not is_month(name):
            unread = entry is not None and entry.mode == 0o040000
            (self.misnamed.add if unread else self.misnamed.discard)(path)

    def _state(self, action_id: str) -> _State:
        return _State(
            self.open.get(action_id),
            action_id in self.finished or action_id in self.stray_results,
            action_id in self.archived,
            self.has_result(action_id),
            result.blob if (result := self.result_file(action_id)) else "",
            self.result_path(action_id) or "",
        )

    def _cancel(self, path: str, action_id: str, entry: Entry | None) -> None:
        """Kept beside its action; one in the archive means nothing any more."""
        if not path.startswith(f"{ACTIONS_PATH}/"):
            return
        if entry is None:
            self.cancels.pop(action_id, None)
        else:
            self.cancels[action_id] = CancelFile(
                id=action_id, path=path, blob=entry.oid, mode=entry.mode
            )

    def _in_actions(
        self,
        path: str,
        action_id: str,
        ending: str,
        entry: Entry | None,
        before: dict[str, _State],
    ) -> None:
        before.setdefault(action_id, self._state(action_id))
        pair = self.finished.pop(action_id, None)
        action = pair.action if pair else self.open.get(action_id)
        result = pair.result if pair else self.stray_results.pop(action_id, None)
        if ending == RESULT_ENDING:
            result = (
                ResultFile(id=action_id, path=path, blob=entry.oid, mode=entry.mode)
                if entry
                else None
            )
        else:
            action = (
                ActionFile(id=action_id, path=path, blob=entry.oid, mode=entry.mode)
                if entry
                else None
            )
        if action is not None and result is None:
            self.open[action_id] = action  # keeps its place where it was open already
            return
        self.open.pop(action_id, None)
        if action is not None and result is not None:
            self.finished[action_id] = Finished(action=action, result=result)
        elif result is not None:
            self.stray_results[action_id] = result

    def _in_done(
        self,
        folder: str,
        action_id: str,
        ending: str,
        entry: Entry | None,
        before: dict[str, _State],
    ) -> None:
        places = self.done_results if ending == RESULT_ENDING else self.done_actions
        if entry is not None and entry.mode == 0o040000:
            return
        before.setdefault(action_id, self._state(action_id))
        known = places.get(action_id, ())
        folders = tuple(f for f in known if f != folder) + ((folder,) if entry else ())
        if folders:
            # One tuple for the many ids of a month: this table is the large one.
            places[action_id] = self._folders.setdefault(folders, folders)
        else:
            places.pop(action_id, None)
        if action_id in self.done_results or action_id in self.done_actions:
            self.archived.add(action_id)
        else:
            self.archived.discard(action_id)

    def _formula(self, path: str, stem: str, kind: FormulaKind, entry: Entry | None) -> bool:
        old = self._formula_files.get(path)
        if entry is None:
            self._formula_files.pop(path, None)
        else:
            self._formula_files[path] = FormulaFile(
                name=stem, path=path, blob=entry.oid, mode=entry.mode, kind=kind
            )
        if self._formula_files.get(path) == old:
            return False
        both = (f"{FORMULAS_PATH}/{stem}.{each}" for each in FormulaKind)
        files = [self._formula_files[p] for p in both if p in self._formula_files]
        if files:
            self.formulas[stem] = replace(files[0], ambiguous=len(files) > 1)
        else:
            self.formulas.pop(stem, None)
        return True

    def _changes(
        self, before: Mapping[str, _State], formulas: frozenset[str], in_done: Mapping[str, str]
    ) -> Changes:
        after = {action_id: self._state(action_id) for action_id in before}
        return Changes(
            opened=tuple(i for i, s in after.items() if s.open and not before[i].open),
            changed=frozenset(
                i
                for i, s in after.items()
                if s.open and before[i].open and s.open != before[i].open
            ),
            withdrawn=frozenset(
                i for i, s in after.items() if before[i].open and not s.open and not s.has_result
            ),
            finished=frozenset(
                i for i, s in after.items() if s.in_actions and not before[i].in_actions
            ),
            archived=frozenset(
                i for i, s in after.items() if s.archived and not before[i].archived
            ),
            formulas=formulas,
            vanished={
                i: before[i].result_path
                for i, s in after.items()
                if before[i].has_result and not s.has_result
            },
            arrived=frozenset(
                i
                for i, s in after.items()
                if (s.result and s.result != before[i].result)
                or in_done.get(i, before[i].result) != before[i].result
            ),
        )


def is_month(name: str) -> bool:
    """Whether a directory of the archive has the name of a month: ``YYYY-MM``."""
    return bool(_MONTH.fullmatch(name))


def _endings(folder: str) -> tuple[str, ...]:
    """The endings that mean something in a folder, the longest first."""
    if folder == FORMULAS_PATH:
        return FORMULA_ENDINGS
    above, _, month = folder.rpartition("/")
    if folder in (ACTIONS_PATH, DONE_PATH) or (above == DONE_PATH and is_month(month)):
        return (RESULT_ENDING, CANCEL_ENDING, ACTION_ENDING)
    return ()


def _done_path(folder: str, action_id: str, ending: str) -> str:
    return "/".join(part for part in (DONE_PATH, folder, action_id + ending) if part)
