"""The relevant files of an ops repo, recognized by directory and name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dispatcher.model.formula_files import FILE_ENDINGS, SCHEMA_ENDING
from dispatcher.model.paths import (
    ACTION_ENDING,
    ACTIONS_PATH,
    CANCEL_ENDING,
    DONE_PATH,
    FORMULAS_PATH,
    RESULT_ENDING,
)
from dispatcher.model.run import FormulaKind
from dispatcher.ops_repo.records import InTree

SUPPORT_ENDINGS = (SCHEMA_ENDING, *FILE_ENDINGS)
"""Of the files beside formulas that belong to one: see ``dispatcher.model.formula_files``."""

FORMULA_ENDINGS = tuple(f".{kind}" for kind in FormulaKind)
WATCHED = (ACTIONS_PATH, DONE_PATH, FORMULAS_PATH)
"""Directories whose files are relevant."""

_DATED = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class File(InTree):
    """The entry at a path.

    Attributes:
        path: from the root of the repository.
        blob: object hash (hex); of a tree or a submodule's commit if ``regular`` is False.
    """

    path: str
    blob: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileOfAction(File):
    """The entry at a path that is named after an action.

    Attributes:
        id: the name without its ending.
    """

    id: str


class ActionFile(FileOfAction):
    """Anything in ``vault/actions`` that is named ``<id>.toml``, whatever it is."""

    __slots__ = ()


class ResultFile(FileOfAction):
    """``<id>.result.json`` in ``vault/actions``. Its existence ends the action, whatever it is."""

    __slots__ = ()


class CancelFile(FileOfAction):
    """``<id>.cancel.toml`` in ``vault/actions``, whatever it is: see ``dispatcher.model.cancel_request``."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """An action and its result, both still in ``vault/actions``."""

    action: ActionFile
    result: ResultFile


@dataclass(frozen=True, kw_only=True, slots=True)
class FormulaFile(File):
    """A formula in the ops repo.

    Attributes:
        name: the name without its ending.
        kind: by the ending.
        ambiguous: True if ``<name>.sh`` and ``<name>.toml`` are both there; neither is meant.
    """

    name: str
    kind: FormulaKind
    ambiguous: bool = False


def is_dated(name: str) -> bool:
    """Whether a directory of the archive has the name of a month or of a day: ``YYYY-MM``,
    ``YYYY-MM-DD``."""
    return bool(_DATED.fullmatch(name))


def endings(directory: str) -> tuple[str, ...]:
    """The significant endings in a directory, the longest first."""
    if directory == FORMULAS_PATH:
        return (*SUPPORT_ENDINGS, *FORMULA_ENDINGS)
    above, _, date = directory.rpartition("/")
    if directory in (ACTIONS_PATH, DONE_PATH) or (above == DONE_PATH and is_dated(date)):
        return (RESULT_ENDING, CANCEL_ENDING, ACTION_ENDING)
    return ()


def done_path(directory: str, action_id: str, ending: str) -> str:
    """Path of a file in the archive; ``directory`` is a month, a day or ""."""
    return "/".join(part for part in (DONE_PATH, directory, action_id + ending) if part)
