"""Resolves formulas: from a name to the exact bytes that run.

The operator's own directory takes precedence over the ops repo's ``formulas/``. Formulas from the
directory are trusted like the rest of the dispatcher's configuration; formulas from the ops repo are
approved by a gate before they run.

A formula's schema is ``<name>.schema.json`` beside it; it may name further files there that the formula
reads. All of them are part of the formula: see ``FormulaRef.inputs``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from dispatcher.errors import TemporaryError
from dispatcher.model.formula_files import schema_name
from dispatcher.model.names import is_id
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.model.run import Formula, FormulaInput, FormulaKind, FormulaRef
from dispatcher.ops_repo import FormulaFile, Formulas, OpsRepo, Tree
from dispatcher.schemas import SCHEMA_LIMIT, FormulaSchema, InvalidSchema, parse_schema

FORMULA_LIMIT = 1024 * 1024
"""Bytes of a formula, and of all files that it reads together. Payload limits of an engine are smaller
and are checked there."""

_ENDINGS = frozenset(FormulaKind)

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 100
"""Formulas of the ops repo, and schemas, kept in memory."""

ReadFile = Callable[[str, int], bytes | str]
"""The bytes of a file beside a formula, or why it cannot be used, in words. Takes its name, and the
number of bytes that it may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unusable:
    """A formula that exists and cannot be used, with the reason in words."""

    reason: str


class DirectoryGone(TemporaryError):
    """The operator's formulas directory cannot be read, so its content is unknown."""


def git_blob_hash(data: bytes) -> str:
    """The SHA-1 (hex) that git gives these bytes as a blob."""
    header = b"blob %d\0" % len(data)
    return hashlib.sha1(header + data, usedforsecurity=False).hexdigest()


class FormulaStore:
    """All formulas that an action may name.

    Args:
        folder: the operator's own directory, or None.
        repo: the ops repo, read by blob hash.
    """

    def __init__(self, *, folder: Path | None, repo: OpsRepo) -> None:
        self._folder = folder
        self._repo = repo
        self._read: dict[str, bytes] = {}
        self._schemas: dict[tuple[str, str], FormulaSchema | InvalidSchema] = {}

    def names(self, tree: Tree | Formulas) -> frozenset[str]:
        """Every name an action may use at this tree."""
        return self._operator_files() | frozenset(tree.formulas)

    def find(self, name: str, tree: Tree | Formulas) -> Formula | Unusable | None:
        """The formula of this name, or None if there is none."""
        paths = self._operator_files_of(name)
        if paths:
            return self._of_folder(name, paths)
        entry = tree.formulas.get(name)
        return None if entry is None else self._of_tree(entry, tree)

    def _of_tree(self, entry: FormulaFile, tree: Tree | Formulas) -> Formula | Unusable:
        name = entry.name
        if entry.ambiguous:
            return Unusable(
                reason=f"formula {name} exists twice, as {name}.sh and {name}.toml: remove one"
            )
        if not entry.regular:
            return Unusable(reason=f"{entry.path} is not a regular file")
        text = self._blob(entry.blob, FORMULA_LIMIT)
        if isinstance(text, int):
            return _too_large(name, text)
        made = _formula(name, entry.kind, text, path=entry.path, commit=tree.commit)
        if f"{FORMULAS_PATH}/{schema_name(name)}" not in tree.formula_inputs:
            return made

        def read(file: str, limit: int) -> bytes | str:
            found = tree.formula_inputs.get(f"{FORMULAS_PATH}/{file}")
            if found is None:
                return "does not exist"
            if not found.regular:
                return "is not a regular file"
            data = self._blob(found.blob, limit)
            return data if isinstance(data, bytes) else f"has {data - limit} bytes too many"

        return self._with_schema(made, read)

    def by_ref(self, ref: FormulaRef) -> Formula | Unusable:
        """The formula that a claim names, for a second submission; if it is not the same any more,
        the reason names the file that changed.
        """
        if ref.commit:
            return self._by_hashes(ref)
        paths = self._operator_files_of(ref.name)
        found = self._of_folder(ref.name, paths) if paths else None
        if found is None:
            return Unusable(reason=f"formula {ref.name} no longer exists")
        if isinstance(found, Unusable):
            return found
        changed = _changed(ref, found.ref)
        return Unusable(reason=changed) if changed else found

    def schema_of(self, formula: Formula) -> FormulaSchema | None:
        """The schema of a formula that ``find`` returned; None if it has none."""
        if formula.schema is None:
            return None
        schema = self._schema(schema_name(formula.ref.name), formula.schema)
        return schema if isinstance(schema, FormulaSchema) else None

    def given(self, name: str, formulas: Formulas) -> tuple[str, ...]:
        """Keys of an entry that a formula which destroys it wants as params; none if it has no usable schema."""
        found = self.find(name, formulas)
        schema = self.schema_of(found) if isinstance(found, Formula) else None
        return schema.declared.given if schema else ()

    def _by_hashes(self, ref: FormulaRef) -> Formula | Unusable:
        text = self._blob(ref.blob, FORMULA_LIMIT)
        if isinstance(text, int):
            return _too_large(ref.name, text)
        made = _formula(ref.name, ref.kind, text, path="", commit=ref.commit)
        blobs = {each.name: each.blob for each in ref.inputs}
        if not blobs:
            return made

        def read(file: str, limit: int) -> bytes | str:
            data = self._blob(blobs[file], limit) if file in blobs else 0
            return data if isinstance(data, bytes) else "is not what was approved"

        return self._with_schema(made, read)

    def _operator_files(self) -> frozenset[str]:
        """Names of the operator's formulas; listed at each call, so that edits count."""
        return frozenset(path.stem for path in self._listed(lambda _stem: True))

    def _operator_files_of(self, name: str) -> list[Path]:
        """The operator's files of one formula."""
        return self._listed(lambda stem: stem == name)

    def _listed(self, wanted: Callable[[str], bool]) -> list[Path]:
        if self._folder is None:
            return []
        try:
            return _formula_files(self._folder, wanted)
        except OSError as error:
            # A directory that is not mounted at the moment must not make every action invalid for good.
            raise DirectoryGone(
                f"the formulas directory {self._folder} cannot be read: {error.strerror}",
                remedy="Restore it, or change [formulas] path.",
            ) from error

    def _of_folder(self, name: str, paths: list[Path]) -> Formula | Unusable:
        if len(paths) > 1:
            return Unusable(reason=f"formula {name} exists twice in {self._folder}: remove one")
        return formula_of_file(paths[0], schema=self._schema)

    def _with_schema(self, formula: Formula, read: ReadFile) -> Formula | Unusable:
        return with_inputs(formula, read, schema=self._schema)

    def _schema(self, name: str, data: bytes) -> FormulaSchema | InvalidSchema:
        key = (name, hashlib.sha256(data).hexdigest())
        schema = self._schemas.get(key)
        if schema is None:
            schema = parse_schema(data, name=name)
            _keep(self._schemas, key, schema)
        return schema

    def _blob(self, blob: str, limit: int) -> bytes | int:
        """The bytes of a blob, or their number if they are too many."""
        data = self._read.get(blob)
        if data is None:
            read = self._repo.read([blob], limit=limit)[blob]
            if isinstance(read, int):
                return read
            _keep(self._read, blob, read)
            data = read
        return data if len(data) <= limit else len(data)


def _keep(cache: dict[K, V], key: K, value: V) -> None:
    """Cache a value. The cache is bounded, because formulas change for as long as serve runs."""
    while len(cache) >= REMEMBERED:
        cache.pop(next(iter(cache)), None)
    cache[key] = value


Parse = Callable[[str, bytes], FormulaSchema | InvalidSchema]


def _parsed(name: str, data: bytes) -> FormulaSchema | InvalidSchema:
    return parse_schema(data, name=name)


def formula_of_file(path: Path, *, schema: Parse = _parsed) -> Formula | Unusable:
    """The formula in a file, with its schema and the files beside it that it reads.

    Args:
        schema: parses a schema, by its name and bytes.
    """
    name = path.stem
    try:
        text = path.read_bytes()
    except OSError as error:
        return Unusable(reason=f"formula {name} cannot be read: {error.strerror}")
    if len(text) > FORMULA_LIMIT:
        return _too_large(name, len(text))
    made = _formula(name, FormulaKind(path.suffix[1:]), text, path="", commit="")
    if not os.path.lexists(path.with_name(schema_name(name))):
        return made

    def read(file: str, limit: int) -> bytes | str:
        beside = path.with_name(file)
        try:
            if not beside.is_file():
                return "is not a regular file" if beside.exists() else "does not exist"
            data = beside.read_bytes()
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return data if len(data) <= limit else f"has {len(data) - limit} bytes too many"

    return with_inputs(made, read, schema=schema)


def with_inputs(formula: Formula, read: ReadFile, *, schema: Parse = _parsed) -> Formula | Unusable:
    """The formula with its schema, and with the files that the schema names.

    Args:
        read: reads a file beside the formula.
    """
    name = schema_name(formula.ref.name)
    data = read(name, SCHEMA_LIMIT)
    if isinstance(data, str):
        return Unusable(reason=f"the schema {name} {data}")
    parsed = schema(name, data)
    if isinstance(parsed, InvalidSchema):
        return Unusable(reason=f"the schema of formula {formula.ref.name} cannot be used: {parsed}")
    files: dict[str, bytes] = {}
    left = FORMULA_LIMIT - len(formula.text)
    for file in parsed.declared.files:
        content = read(file, left)
        if isinstance(content, str):
            return Unusable(reason=f"{file}, which {name} names, {content}")
        files[file] = content
        left -= len(content)
    inputs = tuple(
        FormulaInput(
            name=each, blob=git_blob_hash(content), sha256=hashlib.sha256(content).hexdigest()
        )
        for each, content in ((name, data), *files.items())
    )
    return replace(
        formula,
        ref=replace(formula.ref, inputs=inputs),
        schema=data,
        files=files,
        declares=parsed.declared.inventory,
    )


def _changed(approved: FormulaRef, now: FormulaRef) -> str:
    """Which file of a formula is not what was approved, in words; "" if all are."""
    if (approved.sha256, approved.kind) != (now.sha256, now.kind):
        return f"{approved.name}.{approved.kind} changed after it was approved"
    before, after = ({each.name: each.sha256 for each in ref.inputs} for ref in (approved, now))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            what = "changed" if name in before and name in after else "was added or removed"
            return f"{name}, which formula {approved.name} reads, {what} after it was approved"
    return ""


def _formula(name: str, kind: FormulaKind, text: bytes, *, path: str, commit: str) -> Formula:
    ref = FormulaRef(
        name=name,
        kind=kind,
        blob=git_blob_hash(text),
        sha256=hashlib.sha256(text).hexdigest(),
        commit=commit,
    )
    return Formula(ref=ref, path=path, text=text)


def _too_large(name: str, size: int) -> Unusable:
    return Unusable(reason=f"formula {name} has {size} bytes, {size - FORMULA_LIMIT} too many")


def _formula_files(folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The formulas of a directory whose names are wanted, in order."""
    with os.scandir(folder) as entries:
        files = sorted(entry.name for entry in entries)
    found = []
    for file in files:
        stem, _, ending = file.rpartition(".")
        if ending in _ENDINGS and wanted(stem) and is_id(stem) and (folder / file).is_file():
            found.append(folder / file)
    return found
