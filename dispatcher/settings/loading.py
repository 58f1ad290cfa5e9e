"""Loads ``Settings`` from ``disinto.toml`` and the environment.

Order, the later override the earlier: defaults, the file, customary variables (``VAULT_ADDR``), own
variables (``DISINTO_VAULT__ADDR``). The origin of every value is kept, so that a problem
names the line of the file or the variable.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispatcher.errors import InvalidSettings, Misconfigured, Problem
from dispatcher.settings.checks import contradictions
from dispatcher.settings.environment import (
    Variable,
    known_variables,
    unknown_variables,
    variables,
)
from dispatcher.settings.models import Settings
from dispatcher.settings.whole import customary_variables, settings_reader
from dispatcher.settings_file import at_home, find_settings
from dispatcher.settings_origin import Origin
from dispatcher.toml.explain import walk
from dispatcher.toml.source import KeyPath, TomlSource

MAX_SETTINGS_BYTES = 1024 * 1024


def load_settings(
    path: Path | None, environ: Mapping[str, str], *, folder: Path | None = None
) -> Settings:
    """The settings of this process.

    Args:
        path: the file, from the command line, or None: see ``find_settings``.
        environ: the environment.
        folder: the current directory by default.

    Raises:
        InvalidSettings: the file or a variable is wrong; all problems at once, with their places.
        Misconfigured: see ``find_settings``; or the file cannot be read.
    """
    folder = folder or Path.cwd()
    file = find_settings(path, environ, folder=folder)
    if file is None:
        draft = _Draft(folder=folder)
    else:
        source = TomlSource.parse(_read(file), path=str(file), limit=MAX_SETTINGS_BYTES)
        if source.problems:
            raise InvalidSettings(source.problems)
        draft = _Draft(folder=file.resolve().parent, source=source)
    draft.merge_file()
    reader = settings_reader()
    problems = list(draft.merge_environment(environ))
    problems += draft.resolve_paths(environ, folder)
    read = reader.read(draft.data, draft.report)
    if not isinstance(read, Settings):
        problems += read
    problems += unknown_variables(environ, reader.schema, draft.data)
    if not problems and isinstance(read, Settings):
        problems += [draft.report(c.message, c.path, remedy=c.remedy) for c in contradictions(read)]
    if problems or not isinstance(read, Settings):
        raise InvalidSettings(sorted(problems, key=_file_first))
    return read


def settings_origin(path: Path | None, environ: Mapping[str, str]) -> Origin | None:
    """The origin of this process's settings, or None if the file cannot be read.

    Call it before ``load_settings``: a file that changes in between then has another origin.

    Raises:
        Misconfigured: see ``find_settings``.
    """
    file = find_settings(path, environ)
    try:
        return Origin.of(
            file,
            environ,
            keys=known_variables(settings_reader().schema),
            customary=customary_variables(),
        )
    except OSError:
        return None


def _file_first(problem: Problem) -> tuple[bool, int, int, str]:
    return problem.line is None, problem.line or 0, problem.column or 0, problem.path


@dataclass(kw_only=True)
class _Draft:
    """Settings while they are loaded: data merged so far, and the origin of each value.

    Attributes:
        folder: what relative paths of the file are relative to.
        source: the file, or None.
        origins: for values from the environment, the variable's name by path.
    """

    folder: Path
    source: TomlSource | None = None
    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def report(
        self, message: str, path: KeyPath = (), *, remedy: str | None = None, key: bool = False
    ) -> Problem:
        variable = self._variable_of(path)
        if variable is not None:
            return Problem(message=message, path=variable, remedy=remedy)
        if self.source is None:
            return Problem(message=message, path="settings", remedy=remedy)
        return self.source.problem(message, path, remedy=remedy, key=key)

    def merge_file(self) -> None:
        """The file's values, copied so that later merges leave the source as it is."""
        if self.source is not None:
            self.data = copy.deepcopy(dict(self.source.data))

    def merge_environment(self, environ: Mapping[str, str]) -> Iterator[Problem]:
        """Override the file's values with the variables."""
        for variable in variables(environ, settings_reader().schema, customary_variables()):
            self.origins[variable.path] = variable.name
            try:
                value = variable.value()
            except json.JSONDecodeError as error:
                self.origins.pop(variable.path)
                yield Problem(
                    message=f"this is not JSON: {error.msg} (character {error.pos + 1})",
                    path=variable.name,
                    remedy=f"Write it like {variable.example}",
                )
                continue
            self._put(variable, value)

    def resolve_paths(self, environ: Mapping[str, str], current: Path) -> list[Problem]:
        """Make every path absolute; an empty one counts as not given. Refuse NUL in any text."""
        if not self.data.get("state_dir"):
            self.data["state_dir"] = str(Settings.model_fields["state_dir"].default)
        problems = []
        for path, value in list(walk(self.data)):
            if not isinstance(value, str):
                continue
            is_path = settings_reader().expected(path).get("format") == "path"
            if "\x00" in value:
                problems.append(self.report("the text contains a NUL character", path))
            elif is_path and not value:
                self._set(path, None)
            elif is_path or _path_like(path, value):
                base = current if self._variable_of(path) else self.folder
                self._set(path, os.path.normpath(base / at_home(value, environ)))
        return problems

    def _variable_of(self, path: KeyPath) -> str | None:
        lengths = range(len(path), 0, -1)
        return next((self.origins[path[:n]] for n in lengths if path[:n] in self.origins), None)

    def _put(self, variable: Variable, value: object) -> None:
        *sections, key = variable.path
        table = self.data
        for section in sections:
            inner = table.setdefault(str(section), {})
            if not isinstance(inner, dict):
                return  # the model reports the file's mistake
            table = inner
        if value is None:
            table.pop(str(key), None)
        else:
            table[str(key)] = value

    def _set(self, path: KeyPath, value: object) -> None:
        holder: Any = self.data
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = value


def _path_like(path: KeyPath, value: str) -> bool:
    """Whether a value is a path: a remote that is a directory, or a command with a directory."""
    if path == ("ops_repo", "remote"):
        return bool(value) and ":" not in value
    return path == ("agent", "command", 0) and value.startswith(("./", "../", "~/"))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_SETTINGS_BYTES + 1)
    except OSError as error:
        raise Misconfigured(f"the settings file {file} cannot be read: {error.strerror}") from error
