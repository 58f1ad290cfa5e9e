"""Submits an action file to the ops repo, checked as far as possible from here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from dispatcher.decide.locks import lock_problems
from dispatcher.decide.placing import place
from dispatcher.decide.policy import Policy
from dispatcher.decide.tiers import TierDecision, effective_tier
from dispatcher.engines import registry
from dispatcher.errors import Conflict, Exit, InvalidInput, NotFound, Problem
from dispatcher.gate.trailer import Place
from dispatcher.loop.formulas import FormulaStore, Unusable
from dispatcher.model.action import Action, InvalidAction, parse_action
from dispatcher.model.approval_need import Need, who
from dispatcher.model.mounts import Mount
from dispatcher.model.paths import ACTIONS_PATH
from dispatcher.model.references import check_names
from dispatcher.model.run import Formula, Tier
from dispatcher.ops_repo import NewFile, OpsRepo, Tree
from dispatcher.schemas import params_problems
from dispatcher.settings import GateKind, Settings
from dispatcher.settings.dynamic import variables_of
from dispatcher.settings.jobs import job_classes


class AlreadyThere(Conflict):
    """An action of this id exists: it waits, runs or has run."""

    exit_code = Exit.CANTCREAT


ANYBODY = "somebody whose key is trusted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """An action that may be sent.

    Attributes:
        action, data: the parsed file, and its bytes.
        path: its target in the ops repo.
        tier: which approval it needs.
        formula: the formula that it would run.
        there: whether the same file is in the ops repo already.
    """

    action: Action
    data: bytes
    path: str
    tier: TierDecision
    formula: Formula
    there: bool = False


def prepare(
    file: Path,
    *,
    repo: OpsRepo,
    tree: Tree,
    formula_store: FormulaStore,
    policy: Policy,
    settings: Settings,
    secrets: Collection[str] | None,
    data: bytes | None = None,
) -> Submission:
    """Check a file against the ops repo's present head.

    Args:
        file: the file of the user.
        data: its bytes, if it does not exist yet.
        tree: at that head.
        secrets: the vault's names, or None if they are unknown here; ``serve`` checks them.

    Raises:
        InvalidInput: with every problem and its place.
        NotFound: there is no such file.
        AlreadyThere: an action of this id exists already.
    """
    data = _read(file) if data is None else data
    action = parse_action(
        data, path=str(file), stem=file.stem, limit=settings.limits.max_action_bytes
    )
    if isinstance(action, InvalidAction):
        raise InvalidInput(action.problems)
    there = _is_sent_already(action.id, data, repo=repo, tree=tree)
    offered = registry.get(settings.scheduler).mounts(settings)
    problems = check_names(
        action,
        data,
        path=str(file),
        formulas=formula_store.names(tree),
        secrets=secrets,
        mounts=tuple(Mount) if offered is None else offered,
        variables=variables_of(settings.vault),
    )
    placing = place(
        job_classes(settings),
        action,
        path=str(file),
        source="",
        variables=variables_of(settings.vault),
    )
    problems = (*problems, *lock_problems(policy, action, path=str(file)), *placing.problems)
    if problems:
        raise InvalidInput(problems)
    formula = formula_store.find(action.formula, tree)
    if not isinstance(formula, Formula):
        reason = formula.reason if isinstance(formula, Unusable) else "the formula is gone"
        raise InvalidInput([Problem(message=reason, path=str(file), field="formula")])
    schema = formula_store.schema_of(formula)
    if schema and (misfits := params_problems(schema, action.params, data, path=str(file))):
        raise InvalidInput(misfits)
    return Submission(
        action=action,
        data=data,
        path=f"{ACTIONS_PATH}/{action.id}.toml",
        tier=effective_tier(policy, action, placing),
        formula=formula,
        there=there,
    )


def send(submission: Submission, repo: OpsRepo) -> str:
    """Commit and push the action; returns the commit (hex).

    Raises:
        AlreadyThere: somebody else sent an action of this id in the meantime.
        Unavailable, Denied: the remote.
    """
    published = repo.publish(
        [NewFile(path=submission.path, data=submission.data)],
        message=message_of(submission),
    )
    if submission.path not in published.written:
        raise sent_meanwhile(submission)
    return published.commit


def sent_meanwhile(submission: Submission) -> AlreadyThere:
    """The error if somebody else sent an action of this id since it was checked."""
    return _already_there(submission.action.id, "somebody else has just sent it")


def message_of(submission: Submission) -> str:
    """The message of the commit that adds an action."""
    return f"Ask for {submission.action.id} ({submission.action.formula})"


def needs_approval(submission: Submission) -> bool:
    """Whether the action needs an approval beyond the merge of its file."""
    from_repo = bool(submission.formula.path)
    return submission.tier.tier is not Tier.LOW or from_repo


def need_of_submission(submission: Submission) -> Need:
    """The approvals that the action needs; those of its formula if only that needs any."""
    tier = submission.tier
    return tier.formula_need if tier.tier is Tier.LOW else tier.need


def approval_missing(submission: Submission, settings: Settings) -> str:
    """The approval that the action will wait for, in a sentence; "" if it needs none."""
    if not needs_approval(submission):
        return ""
    tier = submission.tier
    why = f"tier {tier.tier} ({tier.reason.rstrip('.')})"
    if tier.tier is Tier.LOW:
        why = f"formula {submission.formula.ref.name} of the ops repo, whose last change counts"
    match settings.policy.gate:
        case GateKind.NONE:
            return f"{why}: it cannot be approved: no gate is configured ([policy] gate)"
        case GateKind.SIGNED:
            line = Place.of(settings).trailer(submission.path)
            signed = f'{why}: it runs once a trusted key signs a commit with the line "{line}"'
            need = need_of_submission(submission)
            return signed if need.plain else f"{signed}, and it is approved by {who(need, ANYBODY)}"
        case GateKind.FORGEJO:
            return f"{why}: it runs once its pull request is approved and merged"


def _read(file: Path) -> bytes:
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise InvalidInput([Problem(message="this is not a regular file", path=str(file))])
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}") from None


def _is_sent_already(action_id: str, data: bytes, *, repo: OpsRepo, tree: Tree) -> bool:
    """Whether the same file is open in the ops repo already.

    Raises:
        AlreadyThere: the id was used otherwise.
    """
    if tree.has_result(action_id) or action_id in tree.archived:
        raise _already_there(
            action_id, f"it has already run: {tree.result_path(action_id) or 'see vault/done'}"
        )
    waiting = tree.open.get(action_id)
    if waiting is None:
        return False
    existing = repo.read([waiting.blob], limit=len(data))[waiting.blob] if waiting.regular else b""
    if existing == data:
        return True
    raise _already_there(action_id, f"another file of this name is in the ops repo: {waiting.path}")


def _already_there(action_id: str, why: str) -> AlreadyThere:
    return AlreadyThere(
        f"action {action_id} already exists; {why}",
        remedy="An id runs only once: choose a new id, in the file and in its name.",
    )
