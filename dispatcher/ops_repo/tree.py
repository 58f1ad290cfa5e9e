"""The relevant part of an ops repo's tree, kept in memory and updated by differences.

Pure: ``dispatcher.ops_repo.reader`` feeds it from git. An *event* is a path with its current
entry, or None if it was removed.

Of ``vault/done`` only the files in it and in its months (``YYYY-MM``) and days (``YYYY-MM-DD``) count.

A file whose name is not a valid id is not an action, a result or a formula: only its path is kept,
so that people can be warned, and so are other directories of ``vault/done``. Such a name may hold
anything git allows, also what is not UTF-8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dispatcher.model.names import is_id
from dispatcher.model.paths import (
    ACTION_ENDING,
    ACTIONS_PATH,
    CANCEL_ENDING,
    DONE_PATH,
    FORMULAS_PATH,
    RESULT_ENDING,
)
from dispatcher.model.run import FormulaKind
from dispatcher.ops_repo.changes import Changes, Delta, Event, Standing, changes
from dispatcher.ops_repo.files import (
    SUPPORT_ENDINGS,
    ActionFile,
    CancelFile,
    File,
    Finished,
    FormulaFile,
    ResultFile,
    done_path,
    endings,
    is_dated,
)
from dispatcher.ops_repo.records import Entry


class _Places(NamedTuple):
    """The directories below ``vault/done`` that hold an id's result, and its action; more than one only
    if somebody copied by hand.
    """

    results: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()


_NOWHERE = _Places()
_ABSENT = Standing(
    open=None, in_actions=False, archived=False, has_result=False, result="", result_in=""
)


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
        formulas: by name.
        formula_inputs: files beside formulas that may belong to one, by path.
        archived_in: number of actions in each directory below ``vault/done``.
        misnamed: paths of files with an ending of ours whose names are no valid ids, and of
            directories in ``vault/done`` without such a name. They may hold surrogates (bytes that are not UTF-8): see ``dispatcher.ops_repo.escaped``.
    """

    commit: str = ""
    open: dict[str, ActionFile] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=dict)
    stray_results: dict[str, ResultFile] = field(default_factory=dict)
    cancels: dict[str, CancelFile] = field(default_factory=dict)
    formulas: dict[str, FormulaFile] = field(default_factory=dict)
    formula_inputs: dict[str, File] = field(default_factory=dict)
    archived_in: Counter[str] = field(default_factory=Counter)
    misnamed: set[str] = field(default_factory=set)
    _formula_files: dict[str, FormulaFile] = field(default_factory=dict, repr=False)
    _archive: dict[str, _Places] = field(default_factory=dict, repr=False)
    _places: dict[_Places, _Places] = field(default_factory=dict, repr=False)
    _standings: dict[_Places, Standing] = field(default_factory=dict, repr=False)

    @property
    def archived(self) -> Set[str]:
        """Ids with a file below ``vault/done``; follows the tree."""
        return self._archive.keys()

    def archived_results(self) -> Iterator[str]:
        """Ids with a result below ``vault/done``."""
        return (action_id for action_id, places in self._archive.items() if places.results)

    def has_result(self, action_id: str) -> bool:
        """Whether a result of this id is anywhere in the tree."""
        return (
            action_id in self.finished
            or action_id in self.stray_results
            or bool(self._archive.get(action_id, _NOWHERE).results)
        )

    def action_file(self, action_id: str) -> ActionFile | None:
        """The id's action in ``vault/actions``, or None."""
        pair = self.finished.get(action_id)
        return pair.action if pair else self.open.get(action_id)

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
        for folder in self._archive.get(action_id, _NOWHERE).results:
            return done_path(folder, action_id, RESULT_ENDING)
        return None

    def action_path(self, action_id: str) -> str | None:
        """Path of the id's action, in ``vault/actions`` or below ``vault/done``."""
        if action_id in self.open:
            return self.open[action_id].path
        if action_id in self.finished:
            return self.finished[action_id].action.path
        for folder in self._archive.get(action_id, _NOWHERE).actions:
            return done_path(folder, action_id, ACTION_ENDING)
        return None

    def paths(self) -> Iterator[str]:
        """Every path in the tree."""
        for action in self.open.values():
            yield action.path
        for pair in self.finished.values():
            yield pair.action.path
            yield pair.result.path
        for result in self.stray_results.values():
            yield result.path
        for request in self.cancels.values():
            yield request.path
        for action_id, places in self._archive.items():
            for folder in places.results:
                yield done_path(folder, action_id, RESULT_ENDING)
            for folder in places.actions:
                yield done_path(folder, action_id, ACTION_ENDING)
        yield from self._formula_files
        yield from self.formula_inputs
        yield from self.misnamed

    def enter(self, delta: Delta) -> Changes:
        """Apply a difference that was computed for this tree at its present commit. All there is, is the
        difference to an empty tree.
        """
        if delta.complete and self.commit:
            listing = {path: entry for path, entry in delta.events if entry is not None}
            return self.become(delta.commit, listing)
        return self.step(delta.commit, delta.events)

    def become(self, commit: str, listing: Mapping[str, Entry]) -> Changes:
        """Move to a commit by its complete listing. ``listing``: every watched path."""
        events: dict[str, Entry | None] = {p: None for p in self.paths() if p not in listing}
        events.update(listing)
        return self.step(commit, events.items())

    def step(self, commit: str, events: Iterable[Event]) -> Changes:
        """Move to a commit by its differences; a redundant event is harmless."""
        before: dict[str, Standing] = {}
        formulas: set[str] = set()
        inputs: set[str] = set()
        in_done: dict[str, str] = {}
        for path, entry in events:
            folder, _, name = path.rpartition("/")
            ending = next((e for e in endings(folder) if name.endswith(e)), None)
            if ending is None:
                self._other(path, folder, name, entry)
                continue
            stem = name.removesuffix(ending)
            if folder == FORMULAS_PATH and ending in SUPPORT_ENDINGS:
                inputs.update(self._input(path, stem, entry))
            elif not is_id(stem):
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
                if entry and not entry.directory and ending == RESULT_ENDING:
                    in_done[stem] = entry.oid
        self.commit = commit
        after = {action_id: self._state(action_id) for action_id in before}
        return changes(before, after, frozenset(formulas), frozenset(inputs), in_done)

    def _other(self, path: str, folder: str, name: str, entry: Entry | None) -> None:
        """Handle an entry that is not ours; an unread directory of the archive is worth a warning."""
        if folder == DONE_PATH and not is_dated(name):
            unread = entry is not None and entry.directory
            (self.misnamed.add if unread else self.misnamed.discard)(path)

    def _state(self, action_id: str) -> Standing:
        places = self._archive.get(action_id)
        action, result = self.open.get(action_id), self.result_file(action_id)
        if action is None and result is None:
            return _ABSENT if places is None else self._archived_as(places)
        archived = self._archived_as(places) if places is not None else _ABSENT
        return Standing(
            open=action,
            in_actions=result is not None,
            archived=archived.archived,
            has_result=result is not None or archived.has_result,
            result=result.blob if result else "",
            result_in=ACTIONS_PATH if result else archived.result_in,
        )

    def _archived_as(self, places: _Places) -> Standing:
        """The state of an id that is only in these directories of the archive; shared by all of them."""
        if places not in self._standings:
            directory = "/".join(filter(None, (DONE_PATH, *places.results[:1])))
            has_result = bool(places.results)
            self._standings[places] = Standing(
                open=None,
                in_actions=False,
                archived=True,
                has_result=has_result,
                result="",
                result_in=directory if has_result else "",
            )
        return self._standings[places]

    def _cancel(self, path: str, action_id: str, entry: Entry | None) -> None:
        """Handle a request to cancel; one in the archive has no effect."""
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
        before: dict[str, Standing],
    ) -> None:
        if action_id not in before:
            before[action_id] = self._state(action_id)
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
            self.open[action_id] = action  # keeps its position if it was already open
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
        before: dict[str, Standing],
    ) -> None:
        if entry is not None and entry.directory:
            return
        if action_id not in before:
            before[action_id] = self._state(action_id)
        old = self._archive.get(action_id, _NOWHERE)
        if ending == RESULT_ENDING:
            new = old._replace(results=_moved(old.results, folder, here=entry is not None))
        else:
            new = old._replace(actions=_moved(old.actions, folder, here=entry is not None))
            self.archived_in.subtract(old.actions)
            self.archived_in.update(new.actions)
        if new == _NOWHERE:
            self._archive.pop(action_id, None)
        else:
            # One record for the many ids of a directory: this table is the large one.
            self._archive[action_id] = self._places.setdefault(new, new)

    def _input(self, path: str, stem: str, entry: Entry | None) -> tuple[str, ...]:
        """Handle a file beside formulas; its path if it changed, else ()."""
        old = self.formula_inputs.pop(path, None)
        if entry is not None and is_id(stem):
            self.formula_inputs[path] = File(path=path, blob=entry.oid, mode=entry.mode)
        return () if self.formula_inputs.get(path) == old else (path,)

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
        both = (f"{FORMULAS_PATH}/{stem}.{ending}" for ending in FormulaKind)
        files = [self._formula_files[p] for p in both if p in self._formula_files]
        if files:
            self.formulas[stem] = replace(files[0], ambiguous=len(files) > 1)
        else:
            self.formulas.pop(stem, None)
        return True


def _moved(folders: tuple[str, ...], folder: str, *, here: bool) -> tuple[str, ...]:
    """The directories of a file, after it came to one or left it."""
    return (*(f for f in folders if f != folder), *([folder] if here else []))
