"""Effects that stop runs: on a request to cancel, or because a result is in git already."""

from __future__ import annotations

from dataclasses import replace

from dispatcher.decide.steps import Cancel, StopSuperseded
from dispatcher.ledger.base import AlreadyClaimed
from dispatcher.loop.effects.acting import Acting
from dispatcher.loop.results import cancelled_before_start
from dispatcher.model.run import Claim


class Cancelling:
    """Stops runs, and claims actions that must never start."""

    def __init__(self, acting: Acting) -> None:
        self._acting, self._components = acting, acting.components

    def cancel(self, step: Cancel) -> Claim:
        """Stop a run, or claim an action that has not started with its verdict, as ``disinto
        cancel`` does. The engine is called once per submission, and reports how the run ends.

        Returns the claim as it is now, that of a run if one was started first.
        """
        claim = step.claim
        self._acting.led()
        if claim is None:
            try:
                claim = self._components.ledger.claim(
                    cancelled_before_start(step.key, by=step.by, commit=step.commit)
                )
            except AlreadyClaimed as started:
                return started.existing
            self._acting.audit("cancelled", claim, by=step.by, what="waiting")
            return claim
        self._components.scheduler.cancel(claim, reason=f"cancelled by {step.by}")
        self._acting.led()
        self._acting.audit("cancelled", claim, by=step.by, what="run")
        return self._components.ledger.update(replace(claim, stopped=True))

    def stop_superseded(self, step: StopSuperseded) -> Claim:
        """Stop a run whose signed result is in git already, and revoke its grant. The claim stays
        until the engine reports the end, so that nothing is forgotten while it runs.

        A vault that is down must not hold up the stop. The grant is then revoked by the next call,
        which also cancels at the engine again: the run may have reached it in between.
        """
        claim = step.claim
        self._acting.led()
        self._components.scheduler.cancel(
            claim, reason="a result for this action is in git already"
        )
        if claim.stopped and claim.grant is not None:
            self._components.grants.revoke(claim.grant)
            revoked = True
        else:
            revoked = self._acting.try_revoke(claim)
        self._acting.led()
        if not claim.stopped:
            self._acting.audit(
                "abandoned", claim, reason="a result was in git before the run ended"
            )
        return self._components.ledger.update(replace(claim, stopped=True, revoked=revoked))
