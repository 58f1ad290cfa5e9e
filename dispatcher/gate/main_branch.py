"""The gates without a server: ``main_branch`` for tier low, ``none`` if no gate is configured."""

from __future__ import annotations

from dispatcher.gate.base import Answer, Decision, Question


class MainBranch:
    """Approves everything on the main branch."""

    def check(self, question: Question) -> Decision:
        return Decision(
            answer=Answer.APPROVED,
            reason=f"tier {question.tier}: being on the main branch is enough",
            gate="main_branch",
            commit=question.commit,
        )

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        """Nothing is cached."""


class NoGate:
    """Approves nothing: everything waits."""

    def check(self, question: Question) -> Decision:
        return Decision(
            answer=Answer.WAITING,
            reason=f"tier {question.tier} needs approval and no gate is configured; "
            "set [policy] gate",
            gate="none",
        )

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        """Nothing is cached."""
