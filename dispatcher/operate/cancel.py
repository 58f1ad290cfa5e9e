"""Cancelling from outside of ``serve``: a run through its engine, a waiting action by a claim."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from dispatcher.audit import AuditLog
from dispatcher.engines.base import Scheduler
from dispatcher.errors import Conflict, Exit, TemporaryError
from dispatcher.ledger.base import AlreadyClaimed, Ledger
from dispatcher.loop.results import cancelled_before_start
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.operate.lookup import no_such
from dispatcher.ops_repo import Tree

STARTING_S = 10.0
"""Seconds that a claimed run gets to reach its engine, before it is told to stop."""


class EndedAlready(Conflict):
    """There is nothing left to cancel."""

    exit_code = Exit.FAILED


class What(StrEnum):
    """What was cancelled."""

    RUN = "run"  # the engine was told to stop it
    WAITING = "waiting"  # it will never start


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """Cancels one action.

    Args:
        tree: at the head that is looked at.
        who: the person, for the record.
    """

    ledger: Ledger
    scheduler: Scheduler
    audit: AuditLog
    tree: Tree
    who: str
    sleep: Callable[[float], None] = time.sleep

    def cancel(self, action_id: str) -> What:
        """Stop a run, or see to it that a waiting action never runs.

        Raises:
            NotFound: there is no such action.
            EndedAlready: it has ended.
            Unavailable: ledger or engine cannot be reached.
            TemporaryError: it is on its way to its engine, and stays so for long.
        """
        claim = self.ledger.get(action_id)
        if claim is not None:
            return self._stop(claim)
        if self.tree.has_result(action_id):
            raise EndedAlready(f"action {action_id} has ended: {self.tree.result_path(action_id)}")
        waiting = self.tree.open.get(action_id)
        if waiting is None:
            raise no_such(action_id)
        return self._forestall(RunKey(action_id=action_id, blob=waiting.blob))

    def _stop(self, claim: Claim) -> What:
        claim = self._started(claim)
        if claim.phase in (Phase.ENDED, Phase.TOMBSTONE):
            raise EndedAlready(
                f"action {claim.key.action_id} has ended; its result is being published"
            )
        if claim.phase is Phase.CLAIMED and claim.key not in self.scheduler.observe([claim]):
            raise TemporaryError(
                f"action {claim.key.action_id} is claimed but not yet known to its engine",
                remedy="Check 'disinto status', and cancel it again once it has started.",
            )
        self.scheduler.cancel(claim, reason=f"cancelled by {self.who}")
        self._record(claim.key, "run")
        return What.RUN

    def _started(self, claim: Claim) -> Claim:
        """An engine ignores runs it does not know: wait until it was asked."""
        deadline = time.monotonic() + STARTING_S
        while claim.phase is Phase.CLAIMED and time.monotonic() < deadline:
            self.sleep(0.2)
            claim = self.ledger.get(claim.key.action_id) or claim
        return claim

    def _forestall(self, key: RunKey) -> What:
        """Take the one claim of this id with a verdict in it: whoever comes later finds it."""
        try:
            self.ledger.claim(cancelled_before_start(key, by=self.who, commit=self.tree.commit))
        except AlreadyClaimed as started:
            return self._stop(started.existing)
        self._record(key, "waiting")
        return What.WAITING

    def _record(self, key: RunKey, what: str) -> None:
        self.audit.append("cancelled", action=key.action_id, blob=key.blob, by=self.who, what=what)
