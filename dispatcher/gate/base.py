"""The interface of gates: may this file run?

A gate returns a value (approved, waiting, refused), each with its reason. Being unable to check is
an exception; the action then waits. No path through this module lets an action run because a check
failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from dispatcher.model.approval_need import Need
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.model.run import Formula, FormulaRef, Tier

if TYPE_CHECKING:
    from dispatcher.decide.world import Candidate
    from dispatcher.model.source import ActionSource


class Answer(StrEnum):
    """A gate's answer. Only ``approved`` lets an action run."""

    APPROVED = "approved"
    WAITING = "waiting"  # something is missing that may still come
    REFUSED = "refused"  # somebody or something said no; see ``Decision.final``


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One file of the ops repo, at the dispatcher's current head.

    Attributes:
        action_id: the action that needs the decision.
        path: the file, from the root of the ops repo.
        blob: git blob hash (hex) of the file at ``commit``.
        commit: head of the branch (hex).
        tier: determines the approval it needs.
        need: how many approvals the file needs, and whose. No default: one approval by anybody would
            be a wrong answer wherever the policy asks for more.
        formula_need: the same for the formula, if there is one.
        tier_reason: why that tier, for messages.
        tier_raised: what raises it above the formula's tier, for messages; "" if nothing does.
        formula: the formula the action would run; None when the question is about a formula.
        formula_path: path of that formula in the ops repo, or "" for the operator's own directory.
        source: the action's table ``[source]``, which anybody may have written; None without one.
        formula_inputs: path and blob hash (hex) of the formula's schema and of each file that it
            reads, in the ops repo; () for the operator's own directory.
    """

    action_id: str
    path: str
    blob: str
    commit: str
    tier: Tier
    need: Need
    formula_need: Need
    tier_reason: str = ""
    tier_raised: str = ""
    formula: FormulaRef | None = None
    formula_path: str = ""
    source: ActionSource | None = None
    formula_inputs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def about(cls, candidate: Candidate, *, commit: str) -> Question:
        """The question about a vetted action at a head (hex).

        Raises:
            ValueError: the action is invalid, so that nothing tells which approval it needs.
        """
        tier, formula = candidate.tier_decision, candidate.formula
        if tier is None:
            raise ValueError(f"the tier of {candidate.path} is not known")
        return cls(
            action_id=candidate.key.action_id,
            path=candidate.path,
            blob=candidate.key.blob,
            commit=commit,
            tier=tier.tier,
            tier_reason=tier.reason,
            tier_raised=tier.raised,
            formula=formula.ref if formula else None,
            formula_path=formula.path if formula else "",
            source=candidate.action.source if candidate.action else None,
            formula_inputs=_inputs(formula),
            need=tier.need,
            formula_need=tier.formula_need,
        )


def _inputs(formula: Formula | None) -> tuple[tuple[str, str], ...]:
    if formula is None or not formula.path:
        return ()
    return tuple((f"{FORMULAS_PATH}/{each.name}", each.blob) for each in formula.ref.inputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """An answer with its reason.

    Attributes:
        answer: see its class.
        reason: one sentence without a full stop that names the commit, request or person meant.
        gate: the gate that decided: ``main_branch``, ``none``, ``signed``, ``forgejo`` or ``source``.
        approved_by: who approved: forge logins or principals of the allowed-signers file,
            or ``gpg:<fingerprint>``. None of them holds a comma.
        final: True for a refusal that nothing can change but another action under a new id. Only
            such a refusal is written as a result.
        commit: the commit (hex) that was approved, or that the reason is about; "" if none.
        request: number of the pull request that brought the file; 0 if there is none.
        landed: the commit (hex) of the main branch by which the file came; "" if not known.
        landed_at: when that commit came to the branch, seconds since the epoch; 0.0 if not known.
    """

    answer: Answer
    reason: str
    gate: str
    approved_by: tuple[str, ...] = ()
    final: bool = False
    commit: str = ""
    request: int = 0
    landed: str = ""
    landed_at: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        if self.final and self.answer is not Answer.REFUSED:
            raise ValueError(f"only a refusal can be final, not {self.answer}")


class Gate(Protocol):
    """Decides about one file. Implementations are thread-safe.

    Contract suite: ``tests/contract/gate.py``; every implementation passes it.
    """

    def check(self, question: Question) -> Decision:
        """Decide about ``question.path`` with ``question.blob`` at ``question.commit``.

        Raises:
            Unavailable: a server it depends on cannot be reached now; the action waits.
            Denied: a server it depends on denies permission; the action waits.
        """
        ...

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        """Drop cached answers: something may have changed.

        Args:
            keep_approvals: whether approvals may stay for as long as they would have.
        """
        ...
