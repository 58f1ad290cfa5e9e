"""Effects that launch runs: mint, claim, extend, submit; and resume a launch that stopped halfway."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from dispatcher.decide.agent import fill_command
from dispatcher.decide.steps import Launch, ResolveOrphan
from dispatcher.decide.times import not_now, overridden
from dispatcher.decide.world import Candidate
from dispatcher.engines import registry
from dispatcher.engines.base import CannotSubmit
from dispatcher.errors import (
    Conflict,
    Denied,
    DisintoError,
    Misconfigured,
    TemporaryError,
    Unavailable,
)
from dispatcher.ledger.base import AlreadyClaimed, ClaimTooLarge
from dispatcher.loop.effects.acting import REMEMBERED, Acting, LeadLost
from dispatcher.loop.effects.ending import Ending, never_ran
from dispatcher.loop.fence import RulesChanged
from dispatcher.loop.formulas import Unusable
from dispatcher.model.inventory import Change
from dispatcher.model.job_class import FORGE_TOKEN
from dispatcher.model.run import (
    Claim,
    Formula,
    FormulaKind,
    Grant,
    Outcome,
    Phase,
    RunKey,
    RunSpec,
    Tier,
    WrappedGrant,
)
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import Settings
from dispatcher.settings.dynamic import dynamic_secrets
from dispatcher.vault import PolicyMissing

SUBMIT_TRIES = 3
"""Unexpected failures of one run's submission after which the run ends."""


class TimePassed(TemporaryError):
    """An action must not start any more, or not now, although it could when that was decided."""


_NOT_WRITTEN = (LeadLost, Conflict, ClaimTooLarge, RulesChanged, TimePassed)
"""Errors after which a claim is known not to have been written."""


class FormulaChanged(TemporaryError):
    """The operator changed or removed the formula since the action was vetted."""


class Launching:
    """Launches actions under a claim, and resumes launches that stopped before the engine had the run.

    Args:
        ending: ends runs that can never start.
    """

    def __init__(self, acting: Acting, ending: Ending) -> None:
        self._acting, self._components, self._ending = acting, acting.components, ending
        self._unclaimed: dict[str, Grant] = {}
        self._failures: dict[str, list[str]] = {}

    def launch(self, step: Launch, *, approved_by: tuple[str, ...]) -> Claim:
        """Mint, claim, extend, submit. If the claim fails, its grant is revoked.

        Args:
            approved_by: who approved, as the gate has just confirmed.

        Returns the claim as it is now, another process's if that was first.

        Raises:
            FormulaChanged, RulesChanged: nothing was done; the action must be judged again.
            TimePassed: nothing was done; it is decided again.
        """
        candidate, formula = step.candidate, step.candidate.formula
        self._acting.fence.check(step.revision)
        if formula is not None:
            same = self._components.formula_store.by_ref(formula.ref)
            if isinstance(same, Unusable):
                raise FormulaChanged(f"{same.reason}; it is judged again")
        spec = spec_of(
            candidate,
            settings=self._components.settings,
            commit=step.commit,
            approved_by=approved_by,
            outcome_key=secrets.token_urlsafe(16),
        )
        wrapped = self._mint(spec)
        claim = Claim(
            key=spec.key,
            phase=Phase.CLAIMED,
            commit=spec.commit,
            formula=spec.formula,
            tier=spec.tier,
            approved_by=spec.approved_by,
            priority=candidate.action.priority if candidate.action else 0,
            lock=candidate.lock,
            declares=formula.declares if formula else None,
            again_of=(candidate.action.again_of if candidate.action else None) or "",
            timeout_s=spec.timeout_s,
            grant=wrapped.grant,
            outcome_key=spec.outcome_key,
        )
        try:
            with self._acting.fence.claiming(step.revision):
                self._acting.led()
                claim = self._components.ledger.claim(self._claimed_now(claim, candidate))
        except AlreadyClaimed as lost:
            self._components.grants.revoke(wrapped.grant)
            return lost.existing
        except Exception as error:
            self._give_up(spec.key, wrapped.grant, error)
            raise
        grants = wrapped.grant.policies
        marked = {"emergency": claim.emergency} if claim.emergency else {}
        self._acting.audit("claimed", claim, approved_by=claim.approved_by, grants=grants, **marked)
        return self._submit(claim, spec, wrapped, again=False)

    def resolve_orphan(self, step: ResolveOrphan) -> Claim:
        """Resolve a claim whose run the engine does not have: the vault shows whether it started."""
        claim, candidate = step.claim, step.candidate
        self._acting.led()
        if claim.grant is None or not self._components.grants.withdraw(claim.grant):
            if claim.grant is not None:
                self._components.grants.revoke(claim.grant)
            nameless = replace(claim, engine_id="")  # an id that names no run hides none
            if claim.key in self._components.scheduler.observe([nameless]):
                return nameless  # it reached its engine meanwhile, which reports how it ends
            return self._end(claim, _lost(), revoked=True)
        formula = self._components.formula_store.by_ref(claim.formula) if claim.formula else None
        if candidate is None or not isinstance(formula, Formula):
            why = formula.reason if isinstance(formula, Unusable) else "its action no longer exists"
            reason = f"the run never started, and now cannot: {why}"
            return self._end(claim, never_ran(Verdict.ERROR, reason), revoked=False)
        approved, needed = claim.tier or Tier.HIGH, candidate.tier or Tier.HIGH
        if needed.rank > approved.rank:
            reason = (
                f"the run never started, and what it would get now needs the tier {needed}: it was "
                f"approved at {approved}. Use a new id"
            )
            return self._end(claim, never_ran(Verdict.ERROR, reason), revoked=False)
        return self._resubmit(claim, replace(candidate, formula=formula))

    def _resubmit(self, claim: Claim, candidate: Candidate) -> Claim:
        """Mint a new grant under the same claim, and submit again. Nobody has unwrapped the old grant,
        and nobody can.

        The old grant is revoked only when the new one is in the claim: after a crash before that,
        the vault is checked again, and must give the same answer.
        """
        failures = self._failures.get(claim.key.token, [])
        if len(failures) >= SUBMIT_TRIES:
            why = f"it could not be submitted {len(failures)} times in a row: {failures[-1]}"
            outcome = never_ran(Verdict.ERROR, why)
            return self._end(claim, outcome, revoked=self._acting.try_revoke(claim))
        old_grant = claim.grant
        spec = spec_of(
            candidate,
            settings=self._components.settings,
            commit=claim.commit,
            approved_by=claim.approved_by,
            outcome_key=claim.outcome_key,
        )
        try:
            wrapped = self._mint(spec)
        except (PolicyMissing, Misconfigured) as never:
            return self._end(claim, never_ran(Verdict.ERROR, str(never)), revoked=False)
        try:
            self._acting.led()
            claim = self._components.ledger.update(
                replace(
                    claim, phase=Phase.CLAIMED, grant=wrapped.grant, stopped=False, engine_id=""
                )
            )
        except Exception as error:
            self._give_up(claim.key, wrapped.grant, error)
            raise
        if old_grant is not None:
            self._components.grants.revoke(old_grant)
        self._acting.audit("submitted_again", claim, reason="the run had not started")
        return self._submit(claim, spec, wrapped, again=True)

    def _claimed_now(self, claim: Claim, candidate: Candidate) -> Claim:
        """A claim with the time, and what it overrides then. Gate and vault may have taken long since the
        launch was decided, and a clock may have been set.

        Raises:
            TimePassed: the action must not start now.
        """
        now = self._acting.clock()
        if reason := not_now(candidate, now):
            raise TimePassed(f"its time passed while it was being started: {reason}")
        ends = claim.declares is not None and claim.declares.change is Change.DESTROYS
        return replace(
            claim,
            claimed_at=now,
            claim_sequence=self._components.inventory.next_sequence(now) if ends else 0,
            emergency=overridden(candidate, now),
        )

    def _mint(self, spec: RunSpec) -> WrappedGrant:
        """Mint a provisional grant. First revoke what is left of an earlier one for the same action, so
        that an action has one grant at a time, however often its claim fails.
        """
        leftover = self._unclaimed.get(spec.key.action_id)
        if leftover is not None:
            claim = self._components.ledger.get(spec.key.action_id)
            if claim is None or claim.grant != leftover:
                self._components.grants.revoke(leftover)
            del self._unclaimed[spec.key.action_id]
        self._acting.led()
        lifetime_s = self._lifetime_s(spec)
        secrets = [name for name in spec.secrets if not (spec.bot and name == FORGE_TOKEN)]
        return self._components.grants.mint(spec.key, secrets, bot=spec.bot, lifetime_s=lifetime_s)

    def _give_up(self, key: RunKey, grant: Grant, error: Exception) -> None:
        """End a grant whose claim could not be written.

        If the claim may have been written nevertheless (the answer was lost), the wrapping is kept
        until the next attempt, because it proves that nothing started: ``resolve_orphan`` finds it
        unused and submits the run again.
        """
        if len(self._unclaimed) >= REMEMBERED:
            self._unclaimed.clear()  # the others expire with their provisional lifetime
        self._unclaimed[key.action_id] = grant
        try:
            if isinstance(error, _NOT_WRITTEN):
                self._components.grants.revoke(grant)
                del self._unclaimed[key.action_id]
            else:
                self._components.grants.withdraw(grant)
        except (Unavailable, Denied) as trouble:  # the failure that led here is the one to raise
            self._acting.note(trouble)

    def _end(self, claim: Claim, outcome: Outcome, *, revoked: bool) -> Claim:
        self._failures.pop(claim.key.token, None)
        return self._ending.end(claim, outcome, revoked=revoked)

    def _lifetime_s(self, spec: RunSpec) -> int:
        """Seconds a grant may live: the wait for placement, the run, and a margin."""
        grants = self._components.settings.grants
        return grants.placement_wait_s + spec.timeout_s + grants.margin_s

    def _submit(self, claim: Claim, spec: RunSpec, wrapped: WrappedGrant, *, again: bool) -> Claim:
        """Extend the grant and submit the run.

        That the engine has it is not written: the engine says so itself, and the next write of the
        claim, with its verdict, has it too.
        """
        grants = self._components.grants
        try:
            grants.extend(wrapped.grant, lifetime_s=self._lifetime_s(spec))
        except Misconfigured as never:
            # Otherwise it would occupy a place until somebody fixes the settings.
            grants.revoke(wrapped.grant)
            return self._end(claim, never_ran(Verdict.ERROR, str(never)), revoked=True)
        self._acting.led()
        try:
            engine_id = self._components.scheduler.submit(spec, wrapped, again=again)
        except CannotSubmit as never:
            grants.revoke(wrapped.grant)
            outcome = never_ran(never.verdict, str(never))
            return self._end(claim, outcome, revoked=True)
        except Misconfigured:
            # Nothing was started. The grant must not wait until somebody fixes the settings; what
            # is left of it later proves that it was not used.
            try:
                grants.withdraw(wrapped.grant)
            except (TemporaryError, Denied) as trouble:  # the failure that led here is to be raised
                self._acting.note(trouble)
            raise
        except (TemporaryError, Denied):
            raise
        except Exception as error:
            # Another program's message may contain anything; a result is public.
            why = str(error) if isinstance(error, DisintoError) else type(error).__name__
            if len(self._failures) >= REMEMBERED:
                self._failures.clear()  # their count starts over
            self._failures.setdefault(claim.key.token, []).append(why)
            raise
        self._failures.pop(claim.key.token, None)
        self._acting.led()
        return replace(claim, phase=Phase.SUBMITTED, engine_id=engine_id, submitted_at=time.time())


def spec_of(
    candidate: Candidate,
    *,
    settings: Settings,
    commit: str,
    approved_by: tuple[str, ...],
    outcome_key: str,
) -> RunSpec:
    """The runner's specification of a vetted action."""
    action, formula = candidate.action, candidate.formula
    if action is None or formula is None:
        raise ValueError(f"action {candidate.key.action_id} is not fit to run")
    model = action.model or settings.agent.default_model
    placing = candidate.placing
    secrets = placing.all_secrets(action)
    return RunSpec(
        key=candidate.key,
        commit=commit,
        tier=candidate.tier or Tier.HIGH,
        approved_by=approved_by,
        formula=formula.ref,
        formula_text=formula.text,
        files=dict(formula.files),
        context=action.context,
        secrets=(*secrets, FORGE_TOKEN) if placing.bot else secrets,
        mounts=placing.all_mounts(action),
        model=model,
        tools=action.tools,
        params=action.params,
        agent_argv=_agent_argv(formula, settings, model, action.tools),
        timeout_s=min(action.timeout_minutes * 60, max(1, round(settings.limits.max_run_s))),
        kill_grace_s=registry.get(settings.scheduler).kill_grace_s(
            settings, placing.variant.job_class
        ),
        vault_addr=settings.vault.runner_addr or settings.vault.addr,
        vault_namespace=settings.vault.namespace,
        kv_mount=settings.vault.kv_mount,
        kv_prefix=settings.vault.kv_prefix,
        dynamic=dynamic_secrets(settings.vault, secrets, key=candidate.key),
        bot=placing.bot,
        bots_prefix=settings.vault.bots_prefix,
        forge_url=settings.forge.url.rstrip("/") if placing.bot else "",
        job_class=placing.variant.job_class,
        meta=dict(placing.meta),
        outcome_key=outcome_key,
    )


def _agent_argv(
    formula: Formula, settings: Settings, model: str, tools: tuple[str, ...]
) -> tuple[str, ...]:
    if formula.ref.kind is not FormulaKind.AGENT:
        return ()
    return fill_command(settings.agent.command, model=model, tools=tools)


def _lost() -> Outcome:
    return never_ran(
        Verdict.LOST,
        "the run may have started but is no longer known to its engine; it is not run again: check "
        "what it did, then use a new id",
    )
