"""Files that are not actions and that ``validate`` is given: the operator's files, formulas and their schemas, schedules.

Each is judged as what it is. What ``validate`` finds by itself in a directory are actions alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dispatcher.decide.policy import load_policy
from dispatcher.decide.sidecar_rules import load_sidecars
from dispatcher.errors import InvalidInput, Misconfigured, Problem
from dispatcher.model.formula_files import formula_of_schema
from dispatcher.model.paths import (
    ACTIONS_PATH,
    FORMULAS_PATH,
    PROJECTS_PATH,
    SCHEDULES_PATH,
)
from dispatcher.schemas import SCHEMA_LIMIT, InvalidSchema, parse_schema
from dispatcher.settings import load_settings
from dispatcher.settings_file import FILE_NAME
from dispatcher.toml.source import TomlSource

POLICY_NAME = "policy.toml"
SIDECARS_NAME = "sidecars.toml"

CONFIGURATION = frozenset({FILE_NAME, POLICY_NAME, SIDECARS_NAME})
"""Names of files of the operator's directory that end in .toml and are not actions."""


class FileKind(StrEnum):
    """What a file is."""

    ACTION = "action"
    SETTINGS = "settings"
    POLICY = "policy"
    SIDECARS = "sidecars"
    FORMULA = "formula"
    SCHEMA = "schema"
    SCHEDULE = "schedule"
    PROJECT = "project"


_BY_PATH = {ACTIONS_PATH: FileKind.ACTION, SCHEDULES_PATH: FileKind.SCHEDULE}

OF_ACTIONS = (FileKind.ACTION, FileKind.SCHEDULE)
"""Files that are checked against the names that an action may use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """The files that the settings of this call name; None for what is not known.

    Attributes:
        settings: the settings file itself.
        policy: ``[policy] file``.
        sidecars: ``[sidecars] file``.
        formulas: ``[formulas] path``.
    """

    settings: Path | None = None
    policy: Path | None = None
    sidecars: Path | None = None
    formulas: Path | None = None

    def kind_of(self, file: Path) -> FileKind:
        """What a file is, by its place and its name. In ``vault/actions`` everything is an action."""
        place = file.absolute()
        for directory, of_directory in _BY_PATH.items():
            if place.parent.match(directory):
                return of_directory
        if place.parent.name == PROJECTS_PATH and (place.parents[1] / ACTIONS_PATH).is_dir():
            return FileKind.PROJECT
        configuration = {
            FileKind.SETTINGS: (FILE_NAME, self.settings),
            FileKind.POLICY: (POLICY_NAME, self.policy),
            FileKind.SIDECARS: (SIDECARS_NAME, self.sidecars),
        }
        for kind, (name, path) in configuration.items():
            if file.name == name or _same(file, path):
                return kind
        if formula_of_schema(file.name):
            return FileKind.SCHEMA
        if place.parent.name == FORMULAS_PATH or _same(file.parent, self.formulas):
            return FileKind.FORMULA
        return FileKind.ACTION


def problems_of(kind: FileKind, file: Path, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """What is wrong with a file that is no action; a formula can be anything.

    Args:
        environ: the environment, which settings are read with.
    """
    try:
        if kind is FileKind.SETTINGS:
            load_settings(file, environ)
        elif kind is FileKind.POLICY:
            load_policy(file)
        elif kind is FileKind.SIDECARS:
            load_sidecars(file)
        elif kind is FileKind.SCHEMA:
            return _schema_problems(file)
        elif kind is FileKind.PROJECT:
            return TomlSource.parse(file.read_bytes(), path=str(file)).problems
    except InvalidInput as error:
        return tuple(error.problems)
    except Misconfigured as error:
        return (Problem(message=error.what, path=str(file), remedy=error.remedy),)
    except OSError as error:
        return (Problem(message=f"it cannot be read: {error.strerror}", path=str(file)),)
    return ()


def _schema_problems(file: Path) -> tuple[Problem, ...]:
    """What is wrong with a formula's schema by itself, without the files that it names."""
    try:
        with file.open("rb") as stream:
            schema = parse_schema(stream.read(SCHEMA_LIMIT + 1), name=file.name)
    except OSError as error:
        return (Problem(message=f"it cannot be read: {error.strerror}", path=str(file)),)
    reasons = schema.reasons if isinstance(schema, InvalidSchema) else ()
    prefix = f"{file.name}: "
    return tuple(Problem(message=r.removeprefix(prefix), path=str(file)) for r in reasons)


def _same(file: Path, other: Path | None) -> bool:
    return other is not None and file.resolve() == other.resolve()
