"""Reports gate decisions to the forge, on the commit or pull request they are about."""

from __future__ import annotations

from dispatcher.errors import Dependency
from dispatcher.gate.base import Decision, Question
from dispatcher.loop.components import Reporter
from dispatcher.loop.executor import Executor
from dispatcher.loop.outages import Outages
from dispatcher.loop.pollers import Pollers


class AnswerReports:
    """Reports each gate decision to the forge. Used by the loop's thread only.

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

    def __bool__(self) -> bool:
        """Whether any report is in progress."""
        return self._under_way > 0

    def show(self, question: Question, decision: Decision) -> None:
        """Report a decision. Skipped while the forge is down; the next decision is reported then."""
        reporter = self._reporter
        if reporter is None:
            return
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
