"""Resolves formulas: from a name to the exact bytes that run.

The operator's own directory takes precedence over the ops repo's ``formulas/``. Formulas from the
directory are trusted like the rest of the dispatcher's configuration; formulas from the ops repo are
approved by a gate before they run.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import TemporaryError
from dispatcher.model.names import is_id
from dispatcher.model.run import Formula, FormulaKind, FormulaRef
from dispatcher.ops_repo import Formulas, OpsRepo, Tree

FORMULA_LIMIT = 1024 * 1024
"""Bytes of a formula. Payload limits of an engine are smaller and are checked there."""

REMEMBERED = 100
"""Formulas of the ops repo kept in memory."""


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
        self._read: dict[str, Formula] = {}

    def names(self, tree: Tree | Formulas) -> frozenset[str]:
        """Every name an action may use at this tree."""
        return frozenset(self._operator_files().keys()) | frozenset(tree.formulas)

    def find(self, name: str, tree: Tree | Formulas) -> Formula | Unusable | None:
        """The formula of this name, or None if there is none."""
        paths = self._operator_files().get(name)
        if paths is not None:
            return self._of_folder(name, paths)
        entry = tree.formulas.get(name)
        if entry is None:
            return None
        if entry.ambiguous:
            return Unusable(
                reason=f"formula {name} exists twice, as {name}.sh and {name}.toml: remove one"
            )
        if stat.S_IFMT(entry.mode) != stat.S_IFREG:
            return Unusable(reason=f"{entry.path} is not a regular file")
        return self._of_repo(name, entry.path, entry.blob, entry.kind, tree.commit)

    def by_ref(self, ref: FormulaRef) -> Formula | None:
        """The formula that a claim names, for a second submission; None if it no longer exists."""
        if not ref.commit:
            paths = self._operator_files().get(ref.name)
            formula = self._of_folder(ref.name, paths) if paths else None
            same = isinstance(formula, Formula) and formula.ref.sha256 == ref.sha256
            return formula if same and isinstance(formula, Formula) else None
        formula = self._of_repo(ref.name, "", ref.blob, ref.kind, ref.commit)
        return formula if isinstance(formula, Formula) else None

    def _operator_files(self) -> dict[str, list[Path]]:
        """The operator's files by formula name; listed at each call, so that edits count."""
        if self._folder is None:
            return {}
        paths: dict[str, list[Path]] = {}
        try:
            for path in _formula_files(self._folder.iterdir()):
                paths.setdefault(path.stem, []).append(path)
        except OSError as error:
            # A directory that is not mounted at the moment must not make every action invalid for good.
            raise DirectoryGone(
                f"the formulas directory {self._folder} cannot be read: {error.strerror}",
                remedy="Restore it, or change [formulas] path.",
            ) from error
        return paths

    def _of_folder(self, name: str, paths: list[Path]) -> Formula | Unusable:
        if len(paths) > 1:
            return Unusable(reason=f"formula {name} exists twice in {self._folder}: remove one")
        try:
            text = paths[0].read_bytes()
        except OSError as error:
            return Unusable(reason=f"formula {name} cannot be read: {error.strerror}")
        if len(text) > FORMULA_LIMIT:
            return _too_large(name, len(text))
        return _formula(name, FormulaKind(paths[0].suffix[1:]), text, path="", commit="")

    def _keep(self, blob: str, formula: Formula) -> None:
        """Cache a formula. The cache is bounded, because formulas change for as long as serve runs."""
        while len(self._read) >= REMEMBERED:
            self._read.pop(next(iter(self._read)), None)
        self._read[blob] = formula

    def _of_repo(
        self, name: str, path: str, blob: str, kind: FormulaKind, commit: str
    ) -> Formula | Unusable:
        formula = self._read.get(blob)
        if formula is None:
            text = self._repo.read([blob], limit=FORMULA_LIMIT)[blob]
            if isinstance(text, int):
                return _too_large(name, text)
            formula = _formula(name, kind, text, path=path, commit=commit)
            self._keep(blob, formula)
        return _formula(name, kind, formula.text, path=path, commit=commit)


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


def _formula_files(paths: Iterable[Path]) -> list[Path]:
    endings = {f".{kind}" for kind in FormulaKind}
    return sorted(p for p in paths if p.suffix in endings and is_id(p.stem) and p.is_file())
