"""The gate of the service: checks the action by its tier, and its formula at tier high.

A formula of the ops repo is bound to its own approval, even if the action needs none: otherwise
anybody who may change ``formulas/`` could run anything under an action that was approved before. The
same holds for its schema and for the files that it reads; and a schema that was removed must have been
removed by, or before, the approved change of the formula.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from dispatcher.gate.base import Answer, Decision, Gate, Question
from dispatcher.gate.caching import CachingGate
from dispatcher.gate.history import History, removal_since
from dispatcher.gate.main_branch import MainBranch
from dispatcher.model.formula_files import schema_name
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.model.run import Tier

REMEMBERED = 1_000
"""Formulas whose schema was looked for in the history, kept in memory."""


class TieredGate:
    """Selects the gate, and combines the answers for action and formula. Thread-safe.

    Args:
        configured: the gate for the tiers medium and high, ``NoGate`` if there is none.
        history: of the ops repo, in which the removal of a formula's schema is found; None if no
            formula comes from there.
    """

    def __init__(self, configured: Gate, *, history: History | None = None) -> None:
        self._configured = CachingGate(configured)
        self._main_branch = MainBranch()
        self._history = history
        self._lock = threading.Lock()
        self._removals: dict[tuple[str, str], str] = {}

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        """Drop cached answers: a webhook reported a possible change."""
        self._configured.invalidate(keep_approvals=keep_approvals)

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
        return self._formula(question) or action

    def _formula(self, question: Question) -> Decision | None:
        """Why the formula, its schema or a file that it reads is not approved; None if all are."""
        if question.formula is None:
            raise ValueError(f"{question.formula_path} without the formula's blob")
        path = question.formula_path
        for each, blob in ((path, question.formula.blob), *question.formula_inputs):
            about = Question(
                action_id=question.action_id,
                path=each,
                blob=blob,
                commit=question.commit,
                tier=Tier.HIGH,
                tier_reason="a formula of the ops repo",
                need=question.formula_need,
                formula_need=question.formula_need,
            )
            decision = self._configured.check(about)
            if decision.answer is not Answer.APPROVED:
                what = f"formula {each}" if each == path else f"{each}, which {path} reads,"
                return replace(
                    decision,
                    reason=f"{what} needs approval at tier high: {decision.reason}",
                    approved_by=(),
                    final=False,  # another version of it may be approved
                )
        removal = self._schema_removed(question)
        return Decision(answer=Answer.WAITING, reason=removal, gate="schema") if removal else None

    def _schema_removed(self, question: Question) -> str:
        """Why a formula without a schema is not what was approved; "" if it is."""
        if question.formula is None or question.formula_inputs or self._history is None:
            return ""
        schema = f"{FORMULAS_PATH}/{schema_name(question.formula.name)}"
        key = (question.commit, schema)
        with self._lock:
            known = self._removals.get(key)
        if known is not None:
            return known
        reason = removal_since(
            self._history, commit=question.commit, formula=question.formula_path, removed=schema
        )
        with self._lock:
            if len(self._removals) >= REMEMBERED:
                self._removals.clear()
            self._removals[key] = reason
        return reason
