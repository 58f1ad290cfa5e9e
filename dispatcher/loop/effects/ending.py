"""Effects that end runs: record a verdict, revoke a grant, restore a result, release a claim."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from dispatcher.decide.steps import Conclude, Restore, Retire, Revoke
from dispatcher.errors import Denied, Dependency, TemporaryError
from dispatcher.ledger.base import ClaimTooLarge
from dispatcher.loop.effects.acting import Acting
from dispatcher.loop.outgoing import Entry
from dispatcher.loop.results import of_run
from dispatcher.loop.unwrapping import with_cause
from dispatcher.loop.without_runner import last_stderr, may_not_have_started, never_started
from dispatcher.model.result import ResultOutput, ended_result, parse_result
from dispatcher.model.run import Claim, Outcome, Phase, Placement
from dispatcher.model.verdicts import Verdict


class Ending:
    """Ends claimed runs."""

    def __init__(self, acting: Acting) -> None:
        self._acting, self._components = acting, acting.components

    def conclude(self, step: Conclude) -> Claim:
        """Revoke the grant of an ended run, then record its verdict. If the runner did not report how
        it ended, check in Vault whether the formula can have started; this waits for Vault.
        """
        claim, observation = step.claim, step.observation
        if observation.outcome is None:
            raise ValueError(f"the run of {step.action_id} has not ended")
        self._acting.led()
        outcome = with_cause(observation.outcome, claim, self._components.grants)
        if may_not_have_started(outcome, reported=observation.reported) and self._never_began(
            claim
        ):
            outcome = never_started(outcome, self._last_stderr(claim))
        revoked = self._acting.try_revoke(claim)
        output = None
        if observation.reported and outcome.formula_started:
            output = self._components.outputs.collect(claim, outcome)
        return self.end(claim, outcome, engine=observation.engine, revoked=revoked, output=output)

    def restate(self, claim: Claim) -> Claim:
        """Make a result again whose output could not be pushed: it names what can be, or says why
        there is none.
        """
        result = parse_result(claim.result)
        self._acting.led()
        output = result.output
        if output is not None:
            output = self._components.outputs.collect_again(claim, output)
        text = result.model_copy(update={"output": output, "attestation": None}).to_json()
        self._acting.led()
        return self._components.ledger.update(replace(claim, result=self._signed(claim, text)))

    def revoke(self, step: Revoke) -> Claim:
        """Revoke a grant that could not be revoked when the run ended."""
        claim = step.claim
        self._acting.led()
        if claim.grant is not None:
            self._components.grants.revoke(claim.grant)
        self._acting.led()
        return self._components.ledger.update(replace(claim, revoked=True))

    def restore(self, step: Restore) -> Claim:
        """Make a tombstone's text the result of its action again, if it is proven to be ours;
        otherwise drop the text, and keep the tombstone.

        Raises:
            Unavailable, Denied: Vault has the key and cannot be reached; the tombstone waits.
        """
        claim, key = step.claim, step.claim.key
        data = claim.result.encode()
        ours = self._components.verifier.ours(data, action_id=key.action_id, blob=key.blob)
        self._acting.led()
        if not ours:
            self._acting.audit("result_dropped", claim, reason="its signature is not ours")
            return self._components.ledger.update(replace(claim, result=""))
        self._acting.audit(
            "result_restored", claim, reason="its action is there and its signature is ours"
        )
        return self._components.ledger.update(replace(claim, phase=Phase.ENDED))

    def retire(self, step: Retire) -> None:
        """Forget a run whose result is in git and whose grant is revoked, then release the claim.

        In this order, because a crash in between then leaves the claim, which is retired again.
        """
        self._acting.led()
        result = None if step.claim.stopped else ended_result(step.claim)
        if result is not None:
            self._components.notices.record(result)
        self._components.outputs.forget(step.action_id)
        self._components.scheduler.forget(step.claim)
        self._acting.led()
        self._components.ledger.release(step.claim)

    def end(
        self,
        claim: Claim,
        outcome: Outcome,
        *,
        engine: Placement | None = None,
        revoked: bool,
        output: ResultOutput | None = None,
    ) -> Claim:
        """Sign the result and record the verdict. From here on it cannot be lost."""
        kind = self._components.settings.scheduler
        # Not the engine's own name for itself: a result that fails validation would be retried
        # forever.
        engine = replace(engine, kind=kind) if engine else Placement(kind=kind, job=claim.engine_id)
        now = time.time()
        made = partial(
            of_run,
            claim,
            engine=engine,
            now=now,
            output=output,
            sequence=self._components.inventory.next_sequence(now) if claim.declares else 0,
        )
        try:
            text = made(outcome).to_json()
        except (ValueError, TypeError, OverflowError) as error:
            reason = f"the runner left what no result can represent ({error})"
            outcome = _only_verdict(outcome, reason)
            text = made(outcome).to_json()
        self._acting.led()
        text = self._signed(claim, text)
        ended = replace(claim, phase=Phase.ENDED, result=text, revoked=revoked)
        try:
            ended = self._components.ledger.update(ended)
        except ClaimTooLarge as error:
            outcome = _without_outputs(outcome, str(error))
            text = self._signed(claim, made(outcome).to_json())
            ended = self._components.ledger.update(replace(ended, result=text))
        if claim.stopped:  # it ends because of the result in git, whatever the engine reports
            self._acting.audit("closed", ended, reason="its result was in git already")
        else:
            self._acting.audit("ended", ended, reason=outcome.error, verdict=outcome.verdict)
        return ended

    def _signed(self, claim: Claim, text: str) -> str:
        """The result, signed if that is possible now: an engine does not keep an outcome forever, so
        a key that cannot be used must not hold up the verdict. What the ledger holds is ours, and
        is signed before it is pushed.
        """
        if (
            self._components.settings.attestation.transit_key
            and Dependency.VAULT in self._acting.resting()
        ):
            return text
        try:
            return self._components.sign_result(Entry.of(replace(claim, result=text)))
        except Exception as error:  # noqa: BLE001 - reported, and retried by the writer
            self._acting.note(error)
            return text

    def _never_began(self, claim: Claim) -> bool:
        return claim.grant is not None and self._components.grants.withdraw(claim.grant)

    def _last_stderr(self, claim: Claim) -> str:
        try:
            return last_stderr(self._components.scheduler, claim)
        except (TemporaryError, Denied) as error:
            self._acting.note(error)
            return ""


def never_ran(verdict: Verdict, error: str) -> Outcome:
    """The outcome of a run whose formula did not start."""
    return Outcome(verdict=verdict, exit_code=verdict.exit_code, error=error)


def _only_verdict(outcome: Outcome, error: str) -> Outcome:
    """An outcome reduced to its verdict, because no result can represent it; never a success."""
    verdict = Verdict.ERROR if outcome.verdict is Verdict.SUCCEEDED else outcome.verdict
    return never_ran(verdict, error)


def _without_outputs(outcome: Outcome, why: str) -> Outcome:
    """An outcome without its outputs, as the runner itself leaves out what it cannot report: the
    verdict stays the formula's own.
    """
    error = f"the outputs were left out: {why}"
    if outcome.error:
        error = f"{outcome.error}; {error}"
    # What exists at a provider must be entered, or nobody would find and destroy it.
    kept = {name: value for name, value in outcome.outputs.items() if name == "inventory"}
    return replace(outcome, error=error, outputs=kept)
