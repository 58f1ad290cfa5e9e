"""Effects of judging: check the gate for an action, and record actions that never run."""

from __future__ import annotations

import time

from dispatcher.errors import TemporaryError
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.loop.components import Components
from dispatcher.loop.effects.acting import REMEMBERED
from dispatcher.model.result import Result


class ApprovalGone(TemporaryError):
    """The gate no longer approves an action that it approved before.

    Attributes:
        question, decision: the question to the gate, and its decision.
        asked_at: when the check began (monotonic seconds).
    """

    def __init__(self, question: Question, decision: Decision, *, asked_at: float) -> None:
        super().__init__(f"its approval no longer counts: {decision.reason}")
        self.question, self.decision, self.asked_at = question, decision, asked_at


class Judging:
    """Checks the gate, and records its decisions.

    Args:
        components: gate and audit log are used.
    """

    def __init__(self, components: Components) -> None:
        self._components = components
        self._rejected: set[tuple[str, str]] = set()

    def ask(self, question: Question, *, last_answer: Decision | None) -> Decision:
        """Check the gate; a decision that differs from ``last_answer`` goes on record."""
        decision = self._components.gate.check(question)
        if decision != last_answer:
            self._components.audit.append(
                "judged",
                action=question.action_id,
                blob=question.blob,
                commit=question.commit,
                tier=question.tier,
                gate=decision.gate,
                answer=decision.answer,
                final=decision.final,
                reason=decision.reason,
                approved_by=decision.approved_by,
                formula=question.formula.digest if question.formula else "",
            )
        return decision

    def confirm(self, question: Question, *, last_answer: Decision | None) -> Decision:
        """Check the gate once more before a run starts, and return its approval: the action may have
        waited for placement since it was approved, and an approval can be withdrawn.

        Raises:
            ApprovalGone: it is no longer approved.
        """
        asked_at = time.monotonic()
        decision = self.ask(question, last_answer=last_answer)
        if decision.answer is not Answer.APPROVED:
            raise ApprovalGone(question, decision, asked_at=asked_at)
        return decision

    def reject(self, result: Result) -> Result:
        """Record, once, that an action never runs; returns its result."""
        self._components.notices.record(
            result
        )  # there is no claim to restore it from after a crash
        if len(self._rejected) >= REMEMBERED:
            self._rejected.clear()  # a duplicate record is better than unbounded growth
        if (result.id, result.blob) not in self._rejected:
            self._rejected.add((result.id, result.blob))
            self._components.audit.append(
                "rejected",
                action=result.id,
                blob=result.blob,
                commit=result.commit,
                verdict=result.verdict,
                reason=result.error,
            )
        return result
