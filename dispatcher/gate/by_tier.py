"""The gate of the service: checks the action by its tier, and its formula at tier high.

A formula of the ops repo is bound to its own approval, even if the action needs none: otherwise
anybody who may change ``formulas/`` could run anything under an action that was approved before.
"""

from __future__ import annotations

from dataclasses import replace

from dispatcher.gate.base import Answer, Decision, Gate, Question
from dispatcher.gate.caching import CachingGate
from dispatcher.gate.main_branch import MainBranch
from dispatcher.model.run import Tier


class TieredGate:
    """Selects the gate, and combines the answers for action and formula. Thread-safe.

    Args:
        configured: the gate for the tiers medium and high, ``NoGate`` if there is none.
    """

    def __init__(self, configured: Gate) -> None:
        self._configured = CachingGate(configured)
        self._main_branch = MainBranch()

    def invalidate(self) -> None:
        """Drop cached answers: a webhook reported a possible change."""
        self._configured.invalidate()

    def check(self, question: Question) -> Decision:
        """Decide about an action and its formula. The reason names what raised the tier.

        Raises:
            Unavailable: the forge or the clone is unavailable.
            Denied: the forge rejects our token.
        """
        decision = self._decide(question)
        if not question.tier_raised:
            return decision
        tier = f"tier {question.tier} ({question.tier_raised})"
        return replace(decision, reason=f"{tier}: {decision.reason}")

    def _decide(self, question: Question) -> Decision:
        gate = self._main_branch if question.tier is Tier.LOW else self._configured
        action = gate.check(question)
        if action.answer is not Answer.APPROVED or not question.formula_path:
            return action
        formula = self._formula(question)
        if formula.answer is Answer.APPROVED:
            return action
        return replace(
            formula,
            reason=f"formula {question.formula_path} needs approval at tier high: {formula.reason}",
            approved_by=(),
            final=False,  # another version of the formula may be approved
        )

    def _formula(self, question: Question) -> Decision:
        if question.formula is None:
            raise ValueError(f"{question.formula_path} without the formula's blob")
        about = Question(
            action_id=question.action_id,
            path=question.formula_path,
            blob=question.formula.blob,
            commit=question.commit,
            tier=Tier.HIGH,
            tier_reason="a formula of the ops repo",
        )
        return self._configured.check(about)
