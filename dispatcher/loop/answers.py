"""What gates answered about open actions, and when each has to be asked again.

This is what people see, and what is in the way of a launch; it starts no run by itself, because the
gate is asked once more before each start (see ``dispatcher.gate.caching`` for how old an approval can
be). A webhook, a rewritten history and changed rules drop every answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.model.run import Tier

ASK_AGAIN_S = (30.0, 600.0)
"""First and longest pause before a gate is asked again at an unchanged head, if its answer may
change. It doubles with each answer that is the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A gate's answer, and when it is worth asking again (monotonic seconds)."""

    question: Question
    decision: Decision
    again_at: float
    pause_s: float

    @property
    def lasts(self) -> bool:
        """Whether the answer holds for as long as the files do. An approval that people gave is asked
        for again while the action waits for placement: they may have taken it back.
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
        invalidated: how often all were dropped.
    """

    def __init__(self) -> None:
        self._asked: dict[str, Asked] = {}
        self._due_at = math.inf
        self._invalidated_at = -math.inf
        self._void_before = -math.inf
        self.invalidated = 0

    def last(self, action_id: str) -> Decision | None:
        """The last answer about an action, even if it does not count any more."""
        asked = self._asked.get(action_id)
        return asked.decision if asked else None

    def counting(self, question: Question) -> Decision | None:
        """The answer that counts now for this action; None if it has to be asked for.

        Args:
            question: as it would be asked now.
        """
        asked = self._asked.get(question.action_id)
        return asked.decision if asked and asked.fresh and same(question, asked.question) else None

    def learn(self, question: Question, decision: Decision, *, asked_at: float) -> bool:
        """Enter an answer about what would run now.

        Args:
            asked_at: monotonic time. An answer older than the last ``invalidate`` may have missed
                what there was to see, and is asked for again at once.

        Returns:
            False if it was asked for before the last ``void``, and was dropped.
        """
        if asked_at < self._void_before:
            return False
        before = self._asked.get(question.action_id)
        again = before is not None and before.decision == decision
        pause_s = min(ASK_AGAIN_S[1], before.pause_s * 2) if before and again else ASK_AGAIN_S[0]
        mendable = decision.answer is not Answer.APPROVED and not decision.final
        stale = mendable and asked_at < self._invalidated_at
        asked = self._asked[question.action_id] = Asked(
            question=question,
            decision=decision,
            again_at=time.monotonic() + (0.0 if stale else pause_s),
            pause_s=pause_s,
        )
        if not asked.lasts:
            self._due_at = min(self._due_at, asked.again_at)
        return True

    def drop(self, action_id: str) -> None:
        """Forget an action that is not open any more."""
        self._asked.pop(action_id, None)

    def invalidate(self) -> Collection[str]:
        """Something may have changed (a webhook): forget all answers.

        Returns:
            The ids about which there was one.
        """
        self._invalidated_at = time.monotonic()
        self.invalidated += 1
        forgotten = self._asked.keys()
        self._asked = {}
        self._due_at = math.inf
        return forgotten

    def void(self) -> Collection[str]:
        """As ``invalidate``; and no answer that was asked for until now counts, not even one that is
        still to come.
        """
        self._void_before = time.monotonic()
        return self.invalidate()

    def take_due(self) -> Collection[str]:
        """Ids whose answer has ceased to count since the last call."""
        now = time.monotonic()
        if now < self._due_at:
            return ()
        changing = {i: asked.again_at for i, asked in self._asked.items() if not asked.lasts}
        self._due_at = min((at for at in changing.values() if at > now), default=math.inf)
        return [action_id for action_id, at in changing.items() if at <= now]

    def next_due_in(self) -> float | None:
        """Seconds until an answer ceases to count; None if none does."""
        return None if self._due_at == math.inf else max(0.0, self._due_at - time.monotonic())


def same(now: Question, asked: Question) -> bool:
    """Whether an answer to one question is about what would run now: approval goes with the exact
    bytes of the action and of its formula, and with the tier under which it was asked for.
    """
    return replace(now, commit=asked.commit, formula=asked.formula) == asked and (
        _content(now) == _content(asked)
    )


def _content(question: Question) -> tuple[str, str]:
    """What the formula is, whatever the commit at which it was read."""
    ref = question.formula
    return (ref.blob, ref.sha256) if ref else ("", "")
