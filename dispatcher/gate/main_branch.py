"""The gates that ask nobody: ``main_branch`` for tier low, ``none`` where no gate is configured."""

from __future__ import annotations

from dispatcher.gate.base import Answer, Decision, Question


class MainBranch:
    """Being on the main branch is enough."""

    def check(self, question: Question) -> Decision:
        return Decision(
            answer=Answer.APPROVED,
            reason=f"tier {question.tier}: being on the main branch is enough",
            gate="main_branch",
            commit=question.commit,
        )

    def invalidate(self) -> None:
        """There is nothing to forget."""


class NoGate:
    """Nobody can approve: everything waits."""

    def check(self, question: Question) -> Decision:
        return Decision(
            answer=Answer.WAITING,
            reason=f"tier {question.tier} needs approval and no gate is configured; "
            "set [policy] gate",
            gate="none",
        )

    def invalidate(self) -> None:
        """There is nothing to forget."""
