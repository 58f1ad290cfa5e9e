"""Changes of the tree from one commit to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dispatcher.model.paths import result_name
from dispatcher.ops_repo.files import ActionFile, File, FormulaFile
from dispatcher.ops_repo.records import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """The changes of one step of a tree; each empty if there were none of the kind.

    Attributes:
        opened: ids that became open, in the order in which their commits arrived.
        changed: open ids whose content or mode changed.
        withdrawn: ids that were open, whose file is gone, and that have no result.
        former_blobs: hashes of the regular files of open actions that changed or are gone without a
            result, as they were before, by id.
        finished: ids that got a result in ``vault/actions``.
        archived: ids moved to ``vault/done``.
        formulas: names of formulas added, changed or removed.
        formula_inputs: paths of files beside formulas (schemas, what formulas read), likewise.
        vanished: ids whose result was in the tree before and no longer is, with its former path.
        replaced: ids whose result was in the tree before and is another one now, or elsewhere, with its
            former path; not those only moved to the archive.
        arrived: ids whose result was added or changed, anywhere; not those only moved.
    """

    opened: tuple[str, ...] = ()
    changed: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    former_blobs: Mapping[str, str] = field(default_factory=dict)
    finished: frozenset[str] = frozenset()
    archived: frozenset[str] = frozenset()
    formulas: frozenset[str] = frozenset()
    formula_inputs: frozenset[str] = frozenset()
    vanished: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)
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
                self.formula_inputs,
                self.vanished,
                self.replaced,
                self.arrived,
            )
        )


Event = tuple[str, Entry | None]
"""A path and its current entry; None if it was removed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """The difference of a tree to a commit, computed but not yet applied: see
    ``OpsRepo.difference``.

    Attributes:
        commit: the target.
        events: what differs, new actions in order of arrival; or, if ``complete``, all there is.
        arrived_at: when the commit was made that brought each new action, by path, seconds since
            the epoch; 0.0 for one that came long before.
    """

    commit: str
    events: tuple[Event, ...] = ()
    complete: bool = False
    arrived_at: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Formulas:
    """The formulas of a tree at one commit, and the files beside them by path, for callers that must
    not hold the tree itself.
    """

    commit: str
    formulas: Mapping[str, FormulaFile]
    formula_inputs: Mapping[str, File] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of an id, compared before and after a step.

    Attributes:
        result: hash of the result in ``vault/actions``; "" if there is none.
        result_in: directory of the result, wherever it is; "" if there is none. The many ids of one
            directory of the archive share one record.
    """

    open: ActionFile | None
    in_actions: bool
    archived: bool
    has_result: bool
    result: str
    result_in: str


def changes(
    before: Mapping[str, Standing],
    after: Mapping[str, Standing],
    formulas: frozenset[str],
    formula_inputs: frozenset[str],
    in_done: Mapping[str, str],
) -> Changes:
    """State changes of ids.

    Args:
        before, after: of the same ids, in order of occurrence.
        formulas, formula_inputs: those that changed.
        in_done: hashes of results added to the archive, by id.
    """
    changed = frozenset(
        i for i, s in after.items() if s.open and before[i].open and s.open != before[i].open
    )
    withdrawn = frozenset(
        i for i, s in after.items() if before[i].open and not s.open and not s.has_result
    )
    arrived = frozenset(
        i
        for i, s in after.items()
        if (s.result and s.result != before[i].result)
        or in_done.get(i, before[i].result) != before[i].result
    )
    return Changes(
        opened=tuple(i for i, s in after.items() if s.open and not before[i].open),
        changed=changed,
        withdrawn=withdrawn,
        former_blobs={
            i: file.blob
            for i in (*changed, *withdrawn)
            if (file := before[i].open) and file.regular
        },
        finished=frozenset(
            i for i, s in after.items() if s.in_actions and not before[i].in_actions
        ),
        archived=frozenset(i for i, s in after.items() if s.archived and not before[i].archived),
        formulas=formulas,
        formula_inputs=formula_inputs,
        vanished={
            i: _result_path(i, before[i])
            for i, s in after.items()
            if before[i].has_result and not s.has_result
        },
        replaced={
            i: _result_path(i, before[i])
            for i, s in after.items()
            if before[i].has_result
            and s.has_result
            and (i in arrived or _is_elsewhere(before[i], s, in_done.get(i, "")))
        },
        arrived=arrived,
    )


def _is_elsewhere(before: Standing, after: Standing, added: str) -> bool:
    """Whether another file counts as the result now. ``added``: hash of one added to the archive."""
    moved = bool(added) and added == before.result
    return before.result_in != after.result_in and not moved


def _result_path(action_id: str, standing: Standing) -> str:
    return f"{standing.result_in}/{result_name(action_id)}"
