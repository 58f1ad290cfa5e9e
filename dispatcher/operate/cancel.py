"""Cancels from outside of ``serve``: a run through its engine, a waiting action by a claim."""

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
"""Seconds that a claimed run gets to reach its engine before it is cancelled there."""


class EndedAlready(Conflict):
    """There is nothing left to cancel."""

    exit_code = Exit.FAILED


class What(StrEnum):
    """What was cancelled."""

    RUN = "run"  # stop requested at the engine
    WAITING = "waiting"  # it will never start


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """Cancels one action.

    Args:
        tree: at the present head.
        who: the person, for the record.
    """

    ledger: Ledger
    scheduler: Scheduler
    audit: AuditLog
    tree: Tree
    who: str
    sleep: Callable[[float], None] = time.sleep

    def cancel(self, action_id: str) -> What:
        """Stop a run, or keep a waiting action from ever running.

        Raises:
            NotFound: there is no such action.
            EndedAlready: it has ended.
            Unavailable: ledger or engine cannot be reached.
            TemporaryError: it is claimed, and has not reached its engine in time.
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
        if not self._known(claim):
            raise TemporaryError(
                f"action {claim.key.action_id} is claimed but not yet known to its engine",
                remedy="Check 'disinto status', and cancel it again once it has started.",
            )
        self.scheduler.cancel(claim, reason=f"cancelled by {self.who}")
        self._record(claim.key, "run")
        return What.RUN

    def _started(self, claim: Claim) -> Claim:
        """Wait until the engine has the run, because it ignores a cancel of an unknown run."""
        deadline = time.monotonic() + STARTING_S
        while not self._known(claim) and time.monotonic() < deadline:
            self.sleep(0.2)
            claim = self.ledger.get(claim.key.action_id) or claim
        return claim

    def _known(self, claim: Claim) -> bool:
        """Whether the engine has had the run."""
        return claim.phase is not Phase.CLAIMED or claim.key in self.scheduler.observe([claim])

    def _forestall(self, key: RunKey) -> What:
        """Take the only claim of this id, with a verdict in it, so that no later one can succeed."""
        try:
            self.ledger.claim(cancelled_before_start(key, by=self.who, commit=self.tree.commit))
        except AlreadyClaimed as started:
            return self._stop(started.existing)
        self._record(key, "waiting")
        return What.WAITING

    def _record(self, key: RunKey, what: str) -> None:
        self.audit.append("cancelled", action=key.action_id, blob=key.blob, by=self.who, what=what)
