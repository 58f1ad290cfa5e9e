"""Reports to the forge how actions ended, without ever holding up a run or a result.

A result is put into the outbox before its claim is released, so that a crash loses no report. The
claim waits for the first attempt only; after that the outbox keeps the report, for a day at most.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping

from dispatcher.errors import Denied, Dependency, DisintoError, TemporaryError
from dispatcher.gate.ended import Ended
from dispatcher.loop.components import EndReporter
from dispatcher.loop.effects.acting import LeadLost
from dispatcher.loop.executor import Executor
from dispatcher.loop.outbox import Outbox, Unreported
from dispatcher.loop.retries import Retries
from dispatcher.model.result import Result, ended_result
from dispatcher.model.run import Claim, Phase
from dispatcher.ops_repo import Tree
from dispatcher.status.tracker import Tracker

GIVE_UP_S = 86_400.0
"""Age at which a result is no longer reported."""

BATCH = 50
"""Results reported in one batch."""

LIMIT = 10_000
"""Results in the outbox; the oldest make room for new ones."""


class Reports:
    """Reports results to the forge until it has them. Used by the loop's thread only.

    Args:
        reporter: posts to the forge; None if there is no forge.
        outbox: stores what is not reported yet.
        executor: runs the reports.
        resting: names the dependencies that are backing off.
        tracker: notified of what cannot be reported.
        wall: seconds since the epoch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        reporter: EndReporter | None,
        outbox: Outbox,
        *,
        executor: Executor,
        resting: Callable[[], Collection[Dependency]],
        tracker: Tracker,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter, self._outbox, self._executor = reporter, outbox, executor
        self._resting, self._tracker, self._wall = resting, tracker, wall
        self._pending: OrderedDict[str, Unreported] = OrderedDict()
        self._unpublished: set[str] = set()
        self._attempts: OrderedDict[str, Result] = OrderedDict()
        self._retries = Retries(clock=clock)
        self._under_way = False
        self._entered = False  # since ``work`` was last called

    def open(self) -> None:
        """Load what an earlier dispatcher left in the outbox."""
        if self._reporter is None:
            return
        self._reporter.forget()
        for each in self._outbox.load():
            self._pending[each.result.id] = each

    def __bool__(self) -> bool:
        """Whether a report is in progress."""
        return self._under_way

    def expect(self, result: Result) -> None:
        """Expect a result that has no claim; it is reported once it is published."""
        if self._reporter is not None and result.id not in self._pending:
            self._unpublished.add(result.id)
            self._enter(result)

    def knows(self, action_id: str) -> bool:
        """Whether a result is to be reported by this dispatcher, or was in this term."""
        return self._reporter is None or action_id in self._pending or action_id in self._attempts

    def recall(self, result: Result, *, ended_at: float) -> None:
        """Report a result without a claim, which a dispatcher before this one may not have reported. It
        is not stored: git has it.

        Args:
            ended_at: seconds since the epoch.
        """
        if not self.knows(result.id):
            self._expect(Unreported(result=result, since=ended_at))

    def published(self, action_ids: Collection[str]) -> None:
        """Note that the results of these actions are in git."""
        self._unpublished.difference_update(action_ids)

    def hold(self, claim: Claim, tree: Tree) -> bool:
        """Whether to keep a claim whose result is in git: until one attempt to report it has been
        made, unless the forge is known to be down.
        """
        action_id = claim.key.action_id
        if self._reporter is None or claim.phase is not Phase.ENDED:
            return False
        if tree.result_path(action_id) is None:
            return False  # there is nothing to link to
        result = ended_result(claim)
        if result is None:
            return False  # of another version, whose results are not these
        if self._attempts.get(action_id) == result:
            return False
        pending = self._pending.get(action_id)
        if pending is None or pending.result != result:
            self._enter(result)
        return Dependency.FORGE not in self._resting()

    def next_in(self) -> float | None:
        """Seconds until there is something to report; None if there is nothing."""
        return 0.0 if self._entered else self._retries.next_try_in()

    def work(self, tree: Tree) -> None:
        """Begin to report what is due.

        Args:
            tree: at the present head.
        """
        self._entered = False
        if self._reporter is None or self._under_way or not self._pending:
            return
        self._give_up()
        if Dependency.FORGE in self._resting():
            return
        reporter, batch = self._reporter, self._due(tree)
        if not batch:
            return
        self._under_way = True

        def done(failures: Mapping[str, DisintoError]) -> None:
            self._under_way = False
            for each in batch:
                self._attempted(each.result, failures.get(each.result.id))

        def failed(error: Exception) -> None:
            self._under_way = False
            for each in batch:
                self._attempted(each.result, error)

        self._executor.question(lambda: reporter.report_ended(batch), done, failed)

    def _due(self, tree: Tree) -> list[Ended]:
        paused = self._retries.paused()
        batch: list[Ended] = []
        for action_id, each in self._pending.items():
            path = tree.result_path(action_id)
            if path is None or action_id in self._unpublished or action_id in paused:
                continue
            batch.append(Ended(result=each.result, commit=tree.commit, path=path))
            if len(batch) == BATCH:
                break
        return batch

    def _enter(self, result: Result) -> None:
        unreported = Unreported(result=result, since=self._wall())
        try:
            self._outbox.put(unreported)
        except OSError as error:  # it is still reported, unless this process dies before
            self._tracker.event("trouble", error=error)
        self._expect(unreported)

    def _expect(self, unreported: Unreported) -> None:
        self._pending[unreported.result.id] = unreported
        self._entered = True
        if len(self._pending) > LIMIT:
            self._drop(next(iter(self._pending)))

    def _attempted(self, result: Result, error: Exception | None) -> None:
        if isinstance(error, LeadLost):
            return  # the loop notices by itself; whoever leads next reports it
        self._attempts[result.id] = result
        if len(self._attempts) > LIMIT:
            self._attempts.popitem(last=False)
        if error is None:
            self._drop(result.id)
        elif isinstance(error, TemporaryError | Denied):
            if self._retries.failed(result.id, error) == 1:
                self._tracker.event("report_failed", action=result.id, error=error)
        else:
            self._tracker.event("report_given_up", action=result.id, error=error)
            self._drop(result.id)

    def _give_up(self) -> None:
        oldest = self._wall() - GIVE_UP_S
        while self._pending:
            action_id, each = next(iter(self._pending.items()))
            if each.since >= oldest:
                return
            self._tracker.event(
                "report_given_up", action=action_id, error="the forge was not reached in time"
            )
            self._drop(action_id)

    def _drop(self, action_id: str) -> None:
        self._pending.pop(action_id, None)
        self._unpublished.discard(action_id)
        self._retries.succeeded(action_id)
        self._outbox.remove(action_id)
