"""Effects of judging: the gate is asked about an action, and what never runs is put on record."""

from __future__ import annotations

import time

from dispatcher.errors import TemporaryError
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.loop.components import Components
from dispatcher.loop.effects.acting import REMEMBERED
from dispatcher.model.result import Result


class ApprovalGone(TemporaryError):
    """The gate does not approve an action any more that it approved before.

    Attributes:
        question, decision: what it was asked, and its answer.
        asked_at: when it was asked (monotonic seconds).
    """

    def __init__(self, question: Question, decision: Decision, *, asked_at: float) -> None:
        super().__init__(f"its approval no longer counts: {decision.reason}")
        self.question, self.decision, self.asked_at = question, decision, asked_at


class Judging:
    """Asks the gate, and records its answers.

    Args:
        components: gate and audit log are used.
    """

    def __init__(self, components: Components) -> None:
        self._components = components
        self._rejected: set[tuple[str, str]] = set()

    def ask(self, question: Question, *, known: Decision | None) -> Decision:
        """Ask the gate; an answer other than the one ``known`` goes on record."""
        decision = self._components.gate.check(question)
        if decision != known:
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
                formula=question.formula.sha256 if question.formula else "",
            )
        return decision

    def confirm(self, question: Question, *, known: Decision | None) -> Decision:
        """Ask the gate once more before a run starts, and return its approval: what was approved may
        have waited for placement since, and an approval can be taken back.

        Raises:
            ApprovalGone: it is not approved now.
        """
        asked_at = time.monotonic()
        decision = self.ask(question, known=known)
        if decision.answer is not Answer.APPROVED:
            raise ApprovalGone(question, decision, asked_at=asked_at)
        return decision

    def reject(self, result: Result) -> Result:
        """Put on record, once, that an action never runs; returns its result."""
        self._components.notices.record(result)  # no claim would tell of it after a crash
        if len(self._rejected) >= REMEMBERED:
            self._rejected.clear()  # a second record of the same is better than no end of growth
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
