"""Gate decisions about open actions, and when each gate must be checked again.

These decisions are what people see and what holds up a launch. They start no run by themselves: the
gate is checked once more before each start (see ``dispatcher.gate.caching`` for how old an approval
can be). A rewritten history, changed rules and a webhook drop every decision; a webhook that reports a
push drops those that are no approval.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.model.run import Tier

ASK_AGAIN_S = (30.0, 600.0)
"""First and longest pause before a gate is checked again at an unchanged head, if its decision may
change. The pause doubles with each identical decision. At one head the gate passes on no more than
``dispatcher.gate.caching.MAX_CHECKS_PER_HEAD`` of these checks."""


def pause_after(unchanged_after_s: float | None) -> float:
    """Seconds until a gate is checked again.

    Args:
        unchanged_after_s: the pause before this decision if the decision is unchanged; else None.
    """
    first, longest = ASK_AGAIN_S
    return first if unchanged_after_s is None else min(longest, unchanged_after_s * 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedAnswer:
    """A gate's decision, and when to check the gate again (monotonic seconds)."""

    question: Question
    decision: Decision
    again_at: float
    pause_s: float

    @property
    def lasts(self) -> bool:
        """Whether the decision holds for as long as the files do. An approval by people is checked
        again while the action waits for placement, because they may have withdrawn it.
        """
        by_people = self.question.tier is not Tier.LOW or self.question.formula_path != ""
        return self.decision.answer is Answer.APPROVED and not by_people

    @property
    def fresh(self) -> bool:
        """Whether the answer counts now."""
        return self.lasts or self.again_at > time.monotonic()


class Answers:
    """Gates' answers by action id. Used by the loop's thread only.

    Attributes:
        invalidated: how often they were dropped.
    """

    def __init__(self) -> None:
        self._recorded: dict[str, RecordedAnswer] = {}
        self._due_at = math.inf
        self._invalidated_at = -math.inf
        self._void_before = -math.inf
        self.invalidated = 0

    def last(self, action_id: str) -> Decision | None:
        """The last decision about an action, even if it no longer counts."""
        recorded = self._recorded.get(action_id)
        return recorded.decision if recorded else None

    def counting(self, question: Question) -> Decision | None:
        """The decision that counts now for this action; None if the gate must be checked.

        Args:
            question: as it would be put to the gate now.
        """
        recorded = self._recorded.get(question.action_id)
        return (
            recorded.decision
            if recorded and recorded.fresh and same(question, recorded.question)
            else None
        )

    def learn(self, question: Question, decision: Decision, *, asked_at: float) -> bool:
        """Record a decision about what would run now.

        Args:
            asked_at: monotonic time. A decision older than the last ``invalidate`` may be outdated,
                so the gate is checked again at once.

        Returns:
            False if the question predates the last ``void``; the decision was dropped.
        """
        if asked_at < self._void_before:
            return False
        before = self._recorded.get(question.action_id)
        unchanged = before is not None and before.decision == decision
        pause_s = pause_after(before.pause_s if before and unchanged else None)
        may_change = decision.answer is not Answer.APPROVED and not decision.final
        stale = may_change and asked_at < self._invalidated_at
        recorded = self._recorded[question.action_id] = RecordedAnswer(
            question=question,
            decision=decision,
            again_at=time.monotonic() + (0.0 if stale else pause_s),
            pause_s=pause_s,
        )
        if not recorded.lasts:
            self._due_at = min(self._due_at, recorded.again_at)
        return True

    def drop(self, action_id: str) -> None:
        """Forget an action that is no longer open."""
        self._recorded.pop(action_id, None)

    def invalidate(self, *, keep_approvals: bool = False) -> Collection[str]:
        """Forget all decisions, because something may have changed (a webhook).

        Args:
            keep_approvals: whether approvals stay until they are due.

        Returns:
            The ids whose decision was forgotten.
        """
        self._invalidated_at = time.monotonic()
        self.invalidated += 1
        kept = {
            action_id: recorded
            for action_id, recorded in self._recorded.items()
            if keep_approvals and recorded.decision.answer is Answer.APPROVED
        }
        forgotten = self._recorded.keys() - kept.keys()
        self._recorded = kept
        self._due_at = min(
            (recorded.again_at for recorded in kept.values() if not recorded.lasts),
            default=math.inf,
        )
        return forgotten

    def void(self) -> Collection[str]:
        """As ``invalidate``, and also drop decisions that are still in progress: none that was
        requested before now counts.
        """
        self._void_before = time.monotonic()
        return self.invalidate()

    def take_due(self) -> Collection[str]:
        """Ids whose decision has expired since the last call."""
        now = time.monotonic()
        if now < self._due_at:
            return ()
        changing = {
            i: recorded.again_at for i, recorded in self._recorded.items() if not recorded.lasts
        }
        self._due_at = min((at for at in changing.values() if at > now), default=math.inf)
        return [action_id for action_id, at in changing.items() if at <= now]

    def next_due_in(self) -> float | None:
        """Seconds until the next decision expires; None if none does."""
        return None if self._due_at == math.inf else max(0.0, self._due_at - time.monotonic())


def same(now: Question, answered: Question) -> bool:
    """Whether a decision on one question covers what would run now: approval is bound to the exact
    bytes of the action and of its formula, and to the tier under which it was requested.
    """
    return replace(now, commit=answered.commit, formula=answered.formula) == answered and (
        _content(now) == _content(answered)
    )


def _content(question: Question) -> tuple[str, str]:
    """The formula's identity, its files included, independent of the commit at which it was read."""
    ref = question.formula
    return (ref.blob, ref.digest) if ref else ("", "")
