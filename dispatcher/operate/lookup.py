"""Looks up one action: its state, its file and its result."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from dispatcher.errors import NotFound, Problem
from dispatcher.model.action import Action, InvalidAction, parse_action
from dispatcher.model.result import Result
from dispatcher.operate.files import ACTION_LIMIT, read_action, read_result
from dispatcher.operate.repetitions import Link, named_in, predecessors, successors
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.status.action_record import (
    FINISHED,
    ActionRecord,
    of_open,
    of_result,
    undecided,
)
from dispatcher.status.overview import OpenAction


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """All that is known of an action.

    Attributes:
        state: a ``State`` while it is open, then ``FINISHED``.
        standing: its entry in the overview while it is open; None if there is none yet.
        path: of the file in the ops repo, or "" if it is gone.
        action: the parsed file; None if it is gone or invalid.
        problems: of an invalid file.
        result_path, result: "" and None while it is open.
        archived: whether the pair has moved to ``vault/done``.
        repeats, repeated_as: the chain of repetitions before and after it.
    """

    id: str
    state: str
    standing: OpenAction | None
    path: str
    action: Action | None
    problems: tuple[Problem, ...]
    result_path: str
    result: Result | None
    archived: bool
    repeats: tuple[Link, ...] = ()
    repeated_as: tuple[Link, ...] = ()

    def record(self) -> ActionRecord:
        """The record that every command prints."""
        if self.result is not None:
            return of_result(self.result)
        record = of_open(self.standing) if self.standing else undecided(self.id)
        if record.formula is None and self.action is not None:
            record = replace(record, formula=self.action.formula)
        return record


def look_up(
    action_id: str, *, repo: OpsRepo, tree: Tree, standing: OpenAction | None = None
) -> Account:
    """Look up an action in the ops repo.

    Args:
        tree: at the present head.
        standing: its entry in the overview.

    Raises:
        NotFound: neither the ops repo nor the overview has such an action.
        InvalidInput: the file at its result's path is not a result.
    """
    path = tree.action_path(action_id) or ""
    result_path = tree.result_path(action_id) or ""
    if not path and not result_path and standing is None:
        raise no_such(action_id)
    result = read_result(repo, tree, action_id)
    data = read_action(repo, tree, action_id)
    repeats = named_in(data)
    action, problems = _action(action_id, path, data)
    state = FINISHED if result else standing.state.value if standing else "waiting"
    return Account(
        id=action_id,
        state=state,
        standing=standing if result is None else None,
        path=path,
        action=action,
        problems=problems,
        result_path=result_path,
        result=result,
        archived=action_id in tree.archived,
        repeats=predecessors(action_id, repeats, repo=repo, commit=tree.commit),
        repeated_as=successors(action_id, repeats, repo=repo, commit=tree.commit),
    )


def no_such(action_id: str) -> NotFound:
    """The error for an unknown id."""
    return NotFound(
        f"there is no action {action_id} in the ops repo",
        remedy="'disinto status' lists those that are open, and the last results.",
    )


def last_results(repo: OpsRepo, tree: Tree, *, count: int) -> list[Result]:
    """The newest results that are still beside their actions, the newest first."""
    blobs = [pair.result.blob for pair in tree.finished.values() if pair.result.regular]
    return newest_of(repo, blobs, count=count)


def newest_of(repo: OpsRepo, blobs: Collection[str], *, count: int) -> list[Result]:
    """The newest of the results with these blobs, the newest first."""
    results = []
    for data in repo.read(blobs, limit=ACTION_LIMIT).values():
        try:
            results.append(Result.model_validate_json(data if isinstance(data, bytes) else b""))
        except ValueError:
            continue  # not one of our results
    return sorted(results, key=lambda result: result.timestamp, reverse=True)[:count]


def _action(
    action_id: str, path: str, data: bytes | int | None
) -> tuple[Action | None, tuple[Problem, ...]]:
    if data is None:
        return None, ()
    if not isinstance(data, bytes):
        return None, (Problem(message=f"the file has {data} bytes", path=path),)
    action = parse_action(data, path=path, stem=action_id)
    if isinstance(action, InvalidAction):
        return None, action.problems
    return action, ()
