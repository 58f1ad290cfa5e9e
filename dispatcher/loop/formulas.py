"""Formulas: from a name to the exact bytes that run.

The operator's own directory goes before the ops repo's ``formulas/``. What comes from the directory
is trusted as the rest of the dispatcher's configuration is; what comes from the ops repo is
approved by a gate before it runs.
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
    """A formula that is there and cannot be used, with the reason in words."""

    reason: str


class DirectoryGone(TemporaryError):
    """The operator's folder of formulas cannot be read; nobody knows what is in it."""


def git_blob_hash(data: bytes) -> str:
    """The SHA-1 git gives these bytes as a blob (hex)."""
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
        return frozenset(self._own().keys()) | frozenset(tree.formulas)

    def find(self, name: str, tree: Tree | Formulas) -> Formula | Unusable | None:
        """The formula of this name, or None if there is none."""
        own = self._own().get(name)
        if own is not None:
            return self._of_folder(name, own)
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
        """The bytes of a formula that a claim names, for a second submit; None if gone."""
        if not ref.commit:
            own = self._own().get(ref.name)
            found = self._of_folder(ref.name, own) if own else None
            same = isinstance(found, Formula) and found.ref.sha256 == ref.sha256
            return found if same and isinstance(found, Formula) else None
        found = self._of_repo(ref.name, "", ref.blob, ref.kind, ref.commit)
        return found if isinstance(found, Formula) else None

    def _own(self) -> dict[str, list[Path]]:
        """The operator's files by formula name; read anew each time, so that edits count."""
        if self._folder is None:
            return {}
        found: dict[str, list[Path]] = {}
        try:
            for path in _formula_files(self._folder.iterdir()):
                found.setdefault(path.stem, []).append(path)
        except OSError as error:
            # A folder that is not mounted just now must not make every action invalid for good.
            raise DirectoryGone(
                f"the formulas directory {self._folder} cannot be read: {error.strerror}",
                remedy="Restore it, or change [formulas] path.",
            ) from error
        return found

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
        """Remember what was read, the newest alone: formulas change for as long as serve runs."""
        while len(self._read) >= REMEMBERED:
            self._read.pop(next(iter(self._read)), None)
        self._read[blob] = formula

    def _of_repo(
        self, name: str, path: str, blob: str, kind: FormulaKind, commit: str
    ) -> Formula | Unusable:
        known = self._read.get(blob)
        if known is None:
            text = self._repo.read([blob], limit=FORMULA_LIMIT)[blob]
            if isinstance(text, int):
                return _too_large(name, text)
            known = _formula(name, kind, text, path=path, commit=commit)
            self._keep(blob, known)
        return _formula(name, kind, known.text, path=path, commit=commit)


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
