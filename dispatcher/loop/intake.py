"""Parses and vets action files: from the files of a tree to candidates for ``reconcile``.

Each blob is read and parsed once. The names in it (formula, secrets, mounts) are checked against
those that exist before anything is started: an unknown name is final and becomes the result
``invalid``.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cache

from dispatcher.decide.locks import lock_of, lock_problems
from dispatcher.decide.placing import Placing, claimed, place
from dispatcher.decide.policy import Policy
from dispatcher.decide.tiers import TierDecision, effective_tier
from dispatcher.decide.world import Candidate
from dispatcher.errors import Denied, Misconfigured, Problem, TemporaryError, Unavailable
from dispatcher.gate.sourced import Written
from dispatcher.loop.components import NothingWritten
from dispatcher.loop.formulas import FormulaStore, Unusable
from dispatcher.loop.results import in_words
from dispatcher.model.action import (
    Action,
    InvalidAction,
    oversized_action,
    parse_action,
)
from dispatcher.model.dynamic import clashes
from dispatcher.model.job_class import JobClasses
from dispatcher.model.mounts import Mount
from dispatcher.model.references import check_names
from dispatcher.model.run import Formula, RunKey
from dispatcher.ops_repo import ActionFile, Formulas, OpsRepo, Tree
from dispatcher.schemas import fits, params_problems

SECRETS_UNKNOWN = "checking secrets in Vault"

Found = Formula | Unusable | None
"""What a formula's name leads to; see ``FormulaStore.find``."""


class Intake:
    """Parses and vets open action files. Used by one thread at a time.

    Args:
        repo: where blobs are read.
        formula_store: resolves formulas.
        policy: tiers by formula; after it is replaced, all files must be vetted again.
        mounts: those that an action may request.
        limit: maximum bytes of an action file.
        variables: those that each dynamic secret becomes, by its name.
        classes: the job classes.
        written: recognizes the actions that the dispatcher wrote itself; by default none.
    """

    def __init__(
        self,
        *,
        repo: OpsRepo,
        formula_store: FormulaStore,
        policy: Policy,
        mounts: frozenset[Mount],
        limit: int,
        variables: Mapping[str, Collection[str]] | None = None,
        classes: JobClasses | None = None,
        written: Written | None = None,
    ) -> None:
        self._repo = repo
        self._formula_store = formula_store
        self.policy = policy
        self._mounts = mounts
        self._limit = limit
        self._variables = variables or {}
        self._classes = classes or JobClasses()
        self._written = written or NothingWritten()
        self._parsed: dict[str, tuple[ActionFile, Action | InvalidAction]] = {}

    def vet(
        self,
        files: Mapping[str, ActionFile],
        *,
        tree: Tree | Formulas,
        secrets: Collection[str] | None,
        order: Mapping[str, int],
    ) -> dict[str, Candidate | Exception]:
        """Vet these files. An unexpected error about one is returned as its answer, so that it
        holds up no other.

        Args:
            files: by id; read in one batch.
            tree: their tree, or its formulas.
            secrets: the names that exist, or None while that is unknown.
            order: position in commit order by id.
        """
        contents = self._read(files)
        names = self._formula_store.names(tree)

        @cache  # one batch, one answer
        def find(name: str) -> Found:
            return self._formula_store.find(name, tree)

        vetted: dict[str, Candidate | Exception] = {}
        for action_id, file in files.items():
            candidate = Candidate(
                key=RunKey(action_id=action_id, blob=file.blob),
                order=order.get(action_id, 0),
                path=file.path,
            )
            try:
                parsed = self._parse(file, contents)
                try:
                    source = self._source(parsed, file)
                except (Unavailable, Denied, Misconfigured) as error:
                    vetted[action_id] = error  # no other action depends on it
                    continue
                vetted[action_id] = self._vet(
                    parsed,
                    candidate,
                    file=file,
                    source=source,
                    find=find,
                    formulas=names,
                    secrets=secrets,
                )
            except TemporaryError:
                raise
            except Exception as error:  # noqa: BLE001 - reported by the caller
                vetted[action_id] = error
        return vetted

    def forget(self, action_ids: Collection[str]) -> None:
        """Drop the parsed content of files that are no longer open."""
        for action_id in action_ids:
            self._parsed.pop(action_id, None)

    def tier_of(self, action: Action) -> TierDecision:
        """The tier of an action that a source of ours would write."""
        return self._placed(action, path="", source=claimed(action))[1]

    def problems_of(
        self, action: Action, content: bytes, path: str, *, tree: Tree | Formulas
    ) -> tuple[Problem, ...]:
        """Why an action that a source of ours would write would be invalid, but for its secrets.

        Args:
            content: its file; path: for messages.
            tree: of the formulas.

        Raises:
            DirectoryGone: the operator's formulas directory cannot be read.
            Unavailable: the clone cannot be read.
        """
        problems = (
            *lock_problems(self.policy, action, path=path),
            *self._placed(action, path=path, source=claimed(action))[0].problems,
            *check_names(
                action,
                content,
                path=path,
                formulas=self._formula_store.names(tree),
                secrets=None,
                mounts=self._mounts,
                variables=self._variables,
            ),
        )
        return (
            problems
            or self._formula_problems(
                action, lambda: content, path, self._formula_store.find(action.formula, tree)
            )[1]
        )

    def _placed(self, action: Action, *, path: str, source: str) -> tuple[Placing, TierDecision]:
        placing = place(self._classes, action, path=path, source=source, variables=self._variables)
        return placing, effective_tier(self.policy, action, placing)

    def _cached(self, file: ActionFile) -> Action | InvalidAction | None:
        file_parsed, parsed = self._parsed.get(file.id, (None, None))
        return parsed if file_parsed == file else None

    def _read(self, files: Mapping[str, ActionFile]) -> Mapping[str, bytes | int]:
        """The contents of files that are not parsed yet, by blob."""
        unread = {f.blob for f in files.values() if f.regular and self._cached(f) is None}
        return self._repo.read(unread, limit=self._limit)

    def _parse(
        self, file: ActionFile, contents: Mapping[str, bytes | int]
    ) -> Action | InvalidAction:
        cached = self._cached(file)
        if cached is not None:
            return cached
        problem = _no_regular_file(file)
        parsed: Action | InvalidAction
        if problem is not None:
            parsed = _invalid(file, problem)
        elif isinstance(data := contents[file.blob], int):
            parsed = oversized_action(path=file.path, stem=file.id, size=data, limit=self._limit)
        else:
            parsed = parse_action(data, path=file.path, stem=file.id, limit=self._limit)
        self._parsed[file.id] = (file, parsed)
        return parsed

    def _vet(
        self,
        action: Action | InvalidAction,
        candidate: Candidate,
        *,
        file: ActionFile,
        source: str,
        find: Callable[[str], Found],
        formulas: Collection[str],
        secrets: Collection[str] | None,
    ) -> Candidate:
        if isinstance(action, InvalidAction):
            return replace(candidate, problem=in_words(action.problems))
        placing, tier_decision = self._placed(action, path=file.path, source=source)
        lock = lock_of(self.policy, action)
        candidate = replace(
            candidate,
            action=action,
            placing=placing,
            tier_decision=tier_decision,
            lock=lock.name,
            approval_lasts_s=self.policy.max_age_s(tier_decision.tier),
            freezes=self.policy.freeze.calendar(tier_decision.without_emergency, action.formula),
        )
        if lock.problem or placing.problems:
            problems = (*lock_problems(self.policy, action, path=file.path), *placing.problems)
            return replace(candidate, problem=in_words(problems))
        if self._names_unknown(action, formulas, secrets):
            problems = check_names(
                action,
                self._content(file),
                path=file.path,
                formulas=formulas,
                secrets=secrets,
                mounts=self._mounts,
                variables=self._variables,
            )
            return replace(candidate, problem=in_words(problems))
        formula, misfits = self._formula_problems(
            action, lambda: self._content(file), file.path, find(action.formula)
        )
        if misfits:
            return replace(candidate, problem=in_words(misfits))
        unvetted = SECRETS_UNKNOWN if secrets is None and action.secrets else ""
        return replace(candidate, formula=formula, unvetted=unvetted)

    def _source(self, action: Action | InvalidAction, file: ActionFile) -> str:
        """What wrote the action, if its class gives something for that and our signature proves it.

        Raises:
            Unavailable, Denied, Misconfigured: our key cannot be read.
        """
        if isinstance(action, InvalidAction) or action.source is None:
            return ""
        if not self._classes.of(action.formula).bots:
            return ""
        wrote = self._written.wrote(self._content(file), action_id=action.id)
        return action.source.kind if wrote else ""

    def _names_unknown(
        self, action: Action, formulas: Collection[str], secrets: Collection[str] | None
    ) -> bool:
        """A quick check; the problems with their places cost another parse of the file."""
        return (
            action.formula not in formulas
            or not self._mounts.issuperset(action.mounts)
            or (secrets is not None and not set(action.secrets) <= set(secrets))
            or any(clashes(action.secrets, self._variables))
        )

    def _formula_problems(
        self, action: Action, content: Callable[[], bytes], path: str, formula: Found
    ) -> tuple[Formula | None, tuple[Problem, ...]]:
        """The formula, or why it cannot be used, or what of the params does not fit its schema."""
        if not isinstance(formula, Formula):
            reason = formula.reason if isinstance(formula, Unusable) else "the formula is gone"
            return None, (Problem(message=reason, path=path, field="formula"),)
        schema = self._formula_store.schema_of(formula)
        if schema is None or fits(schema, action.params):
            return formula, ()
        return formula, tuple(params_problems(schema, action.params, content(), path=path))

    def _content(self, file: ActionFile) -> bytes:
        data = self._repo.read([file.blob], limit=self._limit)[file.blob]
        return data if isinstance(data, bytes) else b""


def _no_regular_file(file: ActionFile) -> str | None:
    kind = stat.S_IFMT(file.mode)
    if kind == stat.S_IFREG:
        return None
    names = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory", 0o160000: "a submodule"}
    return f"this is {names.get(kind, 'not a file')}; an action is a regular file"


def _invalid(file: ActionFile, message: str) -> InvalidAction:
    return InvalidAction(id=file.id, problems=(Problem(message=message, path=file.path),))
