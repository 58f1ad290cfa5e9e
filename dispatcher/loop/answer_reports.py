"""Reports gate decisions to the forge, on the commit or pull request they are about, and what an approved
action waits for at its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from dispatcher.decide.steps import Wait
from dispatcher.errors import Dependency
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.gate.report import Queued
from dispatcher.loop.components import Reporter
from dispatcher.loop.executor import Executor
from dispatcher.loop.outages import Outages
from dispatcher.loop.pollers import Pollers


class AnswerReports:
    """Reports each gate decision to the forge, and who waits for a lock. Used by the loop's thread only.

    Args:
        reporter: posts to the forge; None if there is no forge.
        executor: what runs the reports.
        outages: dependencies that are down.
        pollers: notified of failures and recoveries.
    """

    def __init__(
        self, reporter: Reporter | None, executor: Executor, outages: Outages, pollers: Pollers
    ) -> None:
        self._reporter, self._executor = reporter, executor
        self._outages, self._pollers = outages, pollers
        self._under_way = 0
        self._held: dict[str, tuple[Question, Decision]] = {}
        self._queued: dict[str, Decision] = {}
        self._queued_under_way = False

    def __bool__(self) -> bool:
        """Whether any report is in progress, or held back."""
        return self._under_way > 0 or self._queued_under_way or bool(self._held)

    def show_queued(
        self, waits: Iterable[Wait], approval: Callable[[str], Decision | None]
    ) -> None:
        """Report which approved actions wait for their lock: once for each approval, all of a round
        in one report, and none while one is in progress. A report that fails is not retried: the
        result is reported in any case.

        Args:
            waits: of the plan.
            approval: the gate's last decision about an action.
        """
        reporter = self._reporter
        if reporter is None:
            return
        waiting = {wait.action_id: wait.lock for wait in waits if wait.lock is not None}
        self._queued = {i: d for i, d in self._queued.items() if i in waiting}
        down = Dependency.FORGE in self._outages.resting()
        if self._queued_under_way or down:
            return
        fresh = [
            Queued(action_id=action_id, decision=decision, lock=lock)
            for action_id, lock in waiting.items()
            if (decision := approval(action_id)) is not None
            and decision.answer is Answer.APPROVED
            and decision.request
            and self._queued.get(action_id) != decision
        ]
        if not fresh:
            return
        self._queued.update((each.action_id, each.decision) for each in fresh)
        self._queued_under_way = True

        def done(_none: None) -> None:
            self._queued_under_way = False

        def failed(error: Exception) -> None:
            self._queued_under_way = False
            self._pollers.trouble(error, Dependency.FORGE, where="report")

        self._executor.question(lambda: reporter.report_queued(fresh), done, failed)

    def show(self, question: Question, decision: Decision) -> None:
        """Report a decision. Skipped while the forge is down; the next decision is reported then. An
        approval is held back until ``release``: the run is started first.
        """
        if self._reporter is None:
            return
        self._held.pop(question.action_id, None)
        if decision.answer is Answer.APPROVED:
            self._held[question.action_id] = (question, decision)
        else:
            self._show(self._reporter, question, decision)

    def release(self, busy: Collection[str]) -> None:
        """Report the approvals that were held back, except for actions with a step under way."""
        if self._reporter is None:
            return
        for action_id in self._held.keys() - set(busy):
            self._show(self._reporter, *self._held.pop(action_id))

    def _show(self, reporter: Reporter, question: Question, decision: Decision) -> None:
        self._under_way += 1

        def report() -> bool:
            if Dependency.FORGE in self._outages.resting():
                return False
            reporter.report(question, decision)
            return True

        def done(reported: bool) -> None:  # noqa: FBT001
            self._under_way -= 1
            if reported:
                self._pollers.back(Dependency.FORGE, proven=True)

        def failed(error: Exception) -> None:
            self._under_way -= 1
            self._pollers.trouble(error, Dependency.FORGE, where="report")

        self._executor.question(report, done, failed)
