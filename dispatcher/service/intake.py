"""Intake: from the files of a tree to candidates that ``reconcile`` can decide about.

A file is read and parsed once for each blob. What it names (formula, secrets, mounts) is checked
against what there is, before anything is asked or started: an unknown name is final and becomes
the result ``invalid``.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from dispatcher.action import Action, InvalidAction, check_names, oversized_action, parse_action
from dispatcher.errors import Problem
from dispatcher.ops_repo import ActionFile, OpsRepo, Tree
from dispatcher.policy import Policy, TierDecision, effective_tier
from dispatcher.reconcile import Candidate
from dispatcher.results import in_words
from dispatcher.run import Mount, RunKey
from dispatcher.service.formulas import Formula, FormulaShelf, Unusable

SECRETS_UNKNOWN = "Vault is being asked which secrets exist"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vetted:
    """A candidate with what belongs to it.

    Attributes:
        candidate: for ``reconcile``.
        file: where it stands.
        tier: under which tier it runs, and why; None for a file that never runs.
        formula: what would run; None likewise.
    """

    candidate: Candidate
    file: ActionFile
    tier: TierDecision | None = None
    formula: Formula | None = None


class Intake:
    """Parses and vets open action files.

    Args:
        repo: where blobs are read.
        shelf: the formulas.
        policy: tiers by formula.
        mounts: what may be asked for.
        limit: bytes of an action file.
    """

    def __init__(
        self,
        *,
        repo: OpsRepo,
        shelf: FormulaShelf,
        policy: Policy,
        mounts: frozenset[Mount],
        limit: int,
    ) -> None:
        self._repo = repo
        self._shelf = shelf
        self._policy = policy
        self._mounts = mounts
        self._limit = limit
        self._parsed: dict[str, tuple[str, Action | InvalidAction]] = {}

    def vet(
        self,
        files: Mapping[str, ActionFile],
        *,
        tree: Tree,
        secrets: Collection[str] | None,
        order: Mapping[str, int],
    ) -> dict[str, Vetted]:
        """Vet these files.

        Args:
            files: by id; read in one go.
            tree: the tree they stand in.
            secrets: the names that exist, or None while nobody knows.
            order: position in commit order by id.
        """
        self._parse(files)
        names = self._shelf.names(tree)
        vetted = {}
        for action_id, file in files.items():
            parsed = self._parsed[action_id][1]
            candidate = Candidate(
                key=RunKey(action_id=action_id, blob=file.blob), order=order.get(action_id, 0)
            )
            if isinstance(parsed, InvalidAction):
                problem = in_words(parsed.problems)
                vetted[action_id] = Vetted(candidate=replace(candidate, problem=problem), file=file)
            else:
                vetted[action_id] = self._vet(
                    parsed, candidate, file=file, tree=tree, formulas=names, secrets=secrets
                )
        return vetted

    def forget(self, action_ids: Collection[str]) -> None:
        """Drop what was parsed of files that are not open any more."""
        for action_id in action_ids:
            self._parsed.pop(action_id, None)

    def _parse(self, files: Mapping[str, ActionFile]) -> None:
        unread = {}
        for action_id, file in files.items():
            known = self._parsed.get(action_id)
            if known is not None and known[0] == file.blob:
                continue
            problem = _no_regular_file(file)
            if problem is None:
                unread[action_id] = file
            else:
                self._parsed[action_id] = (file.blob, _invalid(file, problem))
        contents = self._repo.read({f.blob for f in unread.values()}, limit=self._limit)
        for action_id, file in unread.items():
            data = contents[file.blob]
            if isinstance(data, int):
                parsed: Action | InvalidAction = oversized_action(
                    path=file.path, stem=action_id, size=data, limit=self._limit
                )
            else:
                parsed = parse_action(data, path=file.path, stem=action_id, limit=self._limit)
            self._parsed[action_id] = (file.blob, parsed)

    def _vet(
        self,
        action: Action,
        candidate: Candidate,
        *,
        file: ActionFile,
        tree: Tree,
        formulas: Collection[str],
        secrets: Collection[str] | None,
    ) -> Vetted:
        tier = effective_tier(self._policy, action)
        candidate = replace(candidate, action=action, tier=tier.tier)
        if self._names_unknown(action, formulas, secrets):
            problems = check_names(
                action,
                self._source(file),
                path=file.path,
                formulas=formulas,
                secrets=secrets,
                mounts=self._mounts,
            )
            candidate = replace(candidate, problem=in_words(problems))
            return Vetted(candidate=candidate, file=file, tier=tier)
        formula = self._shelf.find(action.formula, tree)
        if not isinstance(formula, Formula):
            reason = formula.reason if isinstance(formula, Unusable) else "the formula is gone"
            problem = in_words([Problem(message=reason, path=file.path, field="formula")])
            return Vetted(candidate=replace(candidate, problem=problem), file=file, tier=tier)
        if secrets is None and action.secrets:
            candidate = replace(candidate, unvetted=SECRETS_UNKNOWN)
        candidate = replace(candidate, formula=formula.ref)
        return Vetted(candidate=candidate, file=file, tier=tier, formula=formula)

    def _names_unknown(
        self, action: Action, formulas: Collection[str], secrets: Collection[str] | None
    ) -> bool:
        """The quick question; the answer with places costs another parse of the file."""
        return (
            action.formula not in formulas
            or not self._mounts.issuperset(action.mounts)
            or (secrets is not None and not set(action.secrets) <= set(secrets))
        )

    def _source(self, file: ActionFile) -> bytes:
        data = self._repo.read([file.blob], limit=self._limit)[file.blob]
        return data if isinstance(data, bytes) else b""


def _no_regular_file(file: ActionFile) -> str | None:
    kind = stat.S_IFMT(file.mode)
    if kind == stat.S_IFREG:
        return None
    names = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", 0o160000: "a submodule"}
    return f"this is {names.get(kind, 'not a file')}; an action is a regular file"


def _invalid(file: ActionFile, message: str) -> InvalidAction:
    return InvalidAction(id=file.id, problems=(Problem(message=message, path=file.path),))
