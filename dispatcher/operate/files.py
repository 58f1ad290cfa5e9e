"""Reads the files of one action, wherever they are in the ops repo.

What is in ``vault/actions`` is read by the hash that the tree has; only below ``vault/done`` git is
asked for the path.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from dispatcher.errors import InvalidInput, Problem
from dispatcher.model.action import Action, parse_action
from dispatcher.model.result import RESULT_LIMIT, Result
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.ops_repo.files import File
from dispatcher.toml.source import dotted

ACTION_LIMIT = 1024 * 1024
"""Bytes of an action file that are read."""


def read_action(repo: OpsRepo, tree: Tree, action_id: str) -> bytes | int | None:
    """The bytes of an action's file; its size if that is more than ``ACTION_LIMIT``; None if there
    is none.
    """
    path = tree.action_path(action_id)
    return _read(repo, tree, tree.action_file(action_id), path, limit=ACTION_LIMIT)


def valid_open_actions(repo: OpsRepo, tree: Tree) -> Iterator[Action]:
    """The actions without a result whose files are valid, in no particular order."""
    regular = {name: file for name, file in tree.open.items() if file.regular}
    contents = repo.read((file.blob for file in regular.values()), limit=ACTION_LIMIT)
    for name, file in regular.items():
        if isinstance(data := contents[file.blob], bytes):
            action = parse_action(data, path=file.path, stem=name)
            if isinstance(action, Action):
                yield action


def read_result(repo: OpsRepo, tree: Tree, action_id: str) -> Result | None:
    """The result of an action; None if it has none.

    Raises:
        InvalidInput: the file is not a result.
    """
    path = tree.result_path(action_id)
    if path is None:
        return None
    data = _read(repo, tree, tree.result_file(action_id), path, limit=RESULT_LIMIT)
    if isinstance(data, bytes):
        try:
            return Result.model_validate_json(data)
        except ValidationError as error:
            why = _first(error)
    elif data is None:
        why = "it is not a regular file"
    else:
        why = f"it has {data:,} bytes, more than the {RESULT_LIMIT:,} allowed"
    raise InvalidInput(
        [
            Problem(
                message=f"this is not a result of disinto: {why}",
                path=path,
                remedy=f"'disinto verify {action_id}' checks whether the dispatcher signed it. If so, "
                "a newer version wrote it: update this one. If not, see who pushed it and why "
                f"(git log -- {path}); to let the action get a genuine result, submit it under a "
                "new id; to forget the file, delete it together with its action",
            )
        ]
    )


def _first(error: ValidationError) -> str:
    """The first thing wrong with a file that may be anybody's, in one short line."""
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    if first["type"] in ("json_invalid", "model_type"):
        return "the file is not a JSON object"
    place = f"{dotted(first['loc'])}: " if first["loc"] else ""
    return place + first["msg"]


def _read(
    repo: OpsRepo, tree: Tree, file: File | None, path: str | None, *, limit: int
) -> bytes | int | None:
    if path is None:
        return None
    if file is None:
        return repo.read_file(tree.commit, path, limit=limit)
    return repo.read([file.blob], limit=limit)[file.blob] if file.regular else None
