"""Effects: one method carries out one step of a plan, in the order that makes it safe to die.

Each method runs on a thread of the pool, touches nothing of the loop's state, and returns what
the ledger now holds (or None). Whoever calls it handles the exceptions: ``Unavailable`` and
``Denied`` mean *later*, ``Conflict`` means *read the ledger again*.

Before each write the lead is checked: a leader that lost it must not act (see ``Led``).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from dispatcher.decide.agent import fill_command
from dispatcher.engines import registry
from dispatcher.engines.base import CannotSubmit
from dispatcher.errors import (
    Conflict,
    Denied,
    Dependency,
    DisintoError,
    Misconfigured,
    TemporaryError,
    Unavailable,
)
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.ledger.base import AlreadyClaimed, ClaimTooLarge, Lease
from dispatcher.loop.components import Components
from dispatcher.loop.fence import Fence, RulesChanged
from dispatcher.loop.foreign import InGit, inspect
from dispatcher.loop.formulas import Formula
from dispatcher.loop.intake import Vetted
from dispatcher.loop.result_writer import Entry, cancelled_before_start, of_run
from dispatcher.loop.unwrapping import with_cause
from dispatcher.loop.without_runner import is_in_doubt, last_words, never_started
from dispatcher.model.health import ForeignResult
from dispatcher.model.result import Result
from dispatcher.model.run import (
    VERDICT_EXIT,
    Claim,
    Engine,
    FormulaKind,
    Grant,
    Outcome,
    Phase,
    RunKey,
    RunSpec,
    Tier,
    Verdict,
    WrappedGrant,
)
from dispatcher.settings import Settings
from dispatcher.vault import PolicyMissing

SUBMIT_TRIES = 3
"""Submissions of one run that may fail in a way that nobody foresaw; then it ends."""

REMEMBERED = 10_000
"""Rejections remembered, so that each is put on record once."""


class LeadLost(TemporaryError):
    """Another process may lead by now; nothing more may be written by this one."""


_NOT_WRITTEN = (LeadLost, Conflict, ClaimTooLarge, RulesChanged)
"""Errors after which a claim is known not to have been written."""


class FormulaChanged(TemporaryError):
    """The operator changed or removed the formula since the action was vetted."""


class ApprovalGone(TemporaryError):
    """The gate does not approve an action any more that it approved before.

    Attributes:
        question, decision: what it was asked, and its answer.
        asked_at: when it was asked (monotonic seconds).
    """

    def __init__(self, question: Question, decision: Decision, *, asked_at: float) -> None:
        super().__init__(f"its approval does not count any more: {decision.reason}")
        self.question, self.decision, self.asked_at = question, decision, asked_at


@dataclass(frozen=True, kw_only=True)
class Effects:
    """The steps, over parts and a lease.

    Attributes:
        fence: holds the rules still while a claim is made by them.
        resting: asked before a call that may be put off; names what must not be asked now.
        note: told of a failure that did not stop its step.
    """

    components: Components
    lease: Lease
    fence: Fence = field(default_factory=Fence)
    resting: Callable[[], Collection[Dependency]] = frozenset
    note: Callable[[Exception], None] = lambda _error: None
    _rejected: set[tuple[str, str]] = field(default_factory=set)
    _unclaimed: dict[str, Grant] = field(default_factory=dict)
    _failures: dict[str, list[str]] = field(default_factory=dict)

    def ask(self, question: Question, *, known: Decision | None) -> Decision:
        """Ask the gate; an answer other than the one ``known`` goes on record."""
        decision = self.components.gate.check(question)
        if decision != known:
            self.components.audit.append(
                "judged",
                action=question.action_id,
                blob=question.blob,
                commit=question.commit,
                tier=question.tier,
                gate=decision.gate,
                answer=decision.answer,
                final=decision.final,
                reason=decision.reason,
                approved_by=decision.approved_by,
                formula=question.formula.sha256 if question.formula else "",
            )
        return decision

    def confirm(self, question: Question, *, known: Decision | None) -> Decision:
        """Ask the gate once more before a run starts, and return its approval: what was approved may
        have waited for a place since, and an approval can be taken back.

        Raises:
            ApprovalGone: it is not approved now.
        """
        asked_at = time.monotonic()
        decision = self.ask(question, known=known)
        if decision.answer is not Answer.APPROVED:
            raise ApprovalGone(question, decision, asked_at=asked_at)
        return decision

    def reject(self, result: Result) -> Result:
        """Put on record, once, that an action never runs; returns its result."""
        if len(self._rejected) >= REMEMBERED:
            self._rejected.clear()  # a second record of the same is better than no end of growth
        if (result.id, result.blob) not in self._rejected:
            self._rejected.add((result.id, result.blob))
            self.components.audit.append(
                "rejected",
                action=result.id,
                blob=result.blob,
                commit=result.commit,
                verdict=result.verdict,
                reason=result.error,
            )
        return result

    def launch(
        self, vetted: Vetted, *, commit: str, approved_by: tuple[str, ...], revision: int = 0
    ) -> Claim:
        """Mint, claim, extend, submit. A claim that fails revokes its grant.

        Args:
            vetted: the action.
            commit: head of the branch at which it was judged.
            approved_by: who approved.
            revision: of the rules by which it was judged.

        Returns the claim as it stands, another's if that one was first.

        Raises:
            FormulaChanged, RulesChanged: nothing was done; the action is to be judged again.
        """
        self.fence.check(revision)
        if vetted.formula is not None and self.components.shelf.by_ref(vetted.formula.ref) is None:
            raise FormulaChanged(f"formula {vetted.formula.ref.name} changed while it waited")
        outcome_key = secrets.token_urlsafe(16)
        spec = spec_of(
            vetted,
            settings=self.components.settings,
            commit=commit,
            approved_by=approved_by,
            outcome_key=outcome_key,
        )
        lifetime_s = _lifetime_s(self.components.settings, spec.timeout_s)
        wrapped = self._mint(spec, lifetime_s=lifetime_s)
        claim = Claim(
            key=spec.key,
            phase=Phase.CLAIMED,
            commit=commit,
            formula=spec.formula,
            tier=spec.tier,
            approved_by=approved_by,
            priority=vetted.candidate.action.priority if vetted.candidate.action else 0,
            timeout_s=spec.timeout_s,
            grant=wrapped.grant,
            job=self.components.settings.scheduler,
            claimed_at=time.time(),
            outcome_key=outcome_key,
        )
        try:
            with self.fence.claiming(revision):
                self.led()
                claim = self.components.ledger.claim(claim)
        except AlreadyClaimed as lost:
            self.components.grants.revoke(wrapped.grant)
            return lost.existing
        except Exception as error:
            self._give_up(spec.key, wrapped.grant, error)
            raise
        self._audit("claimed", claim, approved_by=approved_by, grants=wrapped.grant.policies)
        return self._submit(claim, spec, wrapped, lifetime_s=lifetime_s)

    def settle(self, claim: Claim, vetted: Vetted | None) -> Claim:
        """A claim whose run the engine does not know: let the vault decide.

        Args:
            claim: the claim.
            vetted: the action as it was claimed, where its file is still there unchanged; without
                it a run that never started ends as an error, since nobody knows what to start.
        """
        self.led()
        if claim.grant is None or not self.components.grants.withdraw(claim.grant):
            if claim.grant is not None:
                self.components.grants.revoke(claim.grant)
            if claim.key in self.components.scheduler.observe([claim]):
                return claim  # it reached its engine while we asked, which tells how it ends
            return self._end(claim, _lost(), revoked=True)
        formula = self.components.shelf.by_ref(claim.formula) if claim.formula else None
        if vetted is None or formula is None or vetted.candidate.key != claim.key:
            gone = "the run never started, and its action or formula is not there any more"
            return self._end(claim, _never_started(Verdict.ERROR, gone), revoked=False)
        return self._resubmit(claim, replace(vetted, formula=formula))

    def conclude(
        self, claim: Claim, outcome: Outcome, engine: Engine, *, reported: bool = True
    ) -> Claim:
        """Revoke the grant of an ended run, then record its verdict.

        Args:
            claim: the run's.
            outcome: how it ended.
            engine: where.
            reported: whether its runner said so. Otherwise Vault is asked, and waited for, whether
                the formula can have started.
        """
        self.led()
        outcome = with_cause(outcome, claim, self.components.grants)
        if is_in_doubt(outcome, reported=reported) and self._never_began(claim):
            outcome = never_started(outcome, self._last_words(claim))
        return self._end(claim, outcome, engine=engine, revoked=self._try_revoke(claim))

    def _never_began(self, claim: Claim) -> bool:
        return claim.grant is not None and self.components.grants.withdraw(claim.grant)

    def _last_words(self, claim: Claim) -> str:
        try:
            return last_words(self.components.scheduler, claim)
        except (TemporaryError, Denied) as error:
            self.note(error)
            return ""

    def revoke(self, claim: Claim) -> Claim:
        """Revoke what could not be revoked when the run ended."""
        self.led()
        if claim.grant is not None:
            self.components.grants.revoke(claim.grant)
        self.led()
        return self.components.ledger.update(replace(claim, revoked=True))

    def cancel(self, key: RunKey, claim: Claim | None, *, by: str, commit: str) -> Claim:
        """Stop a run, or claim an action that has not started with its verdict, as ``disinto
        cancel`` does. A run is told once for each submission; how it ends is its engine's to say.

        Returns the claim as it stands, that of a run if one was started first.
        """
        self.led()
        if claim is None:
            try:
                claim = self.components.ledger.claim(
                    cancelled_before_start(key, by=by, commit=commit)
                )
            except AlreadyClaimed as started:
                return started.existing
            self._audit("cancelled", claim, by=by, what="waiting")
            return claim
        self.components.scheduler.cancel(claim, reason=f"cancelled by {by}")
        self.led()
        self._audit("cancelled", claim, by=by, what="run")
        return self.components.ledger.update(replace(claim, stopped=True))

    def abandon(self, claim: Claim) -> Claim:
        """A result of ours stands in git already: stop the run and let its grant die. The claim stays
        until the engine says how it ended, so that nothing is forgotten while it runs.

        A vault that is down must not hold up the stop. The grant is then revoked by the next call,
        which tells the engine again: the run may have reached it in between.
        """
        self.led()
        self.components.scheduler.cancel(claim, reason="a result for this action is in git already")
        if claim.stopped and claim.grant is not None:
            self.components.grants.revoke(claim.grant)
            revoked = True
        else:
            revoked = self._try_revoke(claim)
        self.led()
        if not claim.stopped:
            self._audit("abandoned", claim, reason="a result stood in git before the run ended")
        return self.components.ledger.update(replace(claim, stopped=True, revoked=revoked))

    def inspect(self, claim: Claim, file: InGit | None) -> ForeignResult | None:
        """Whether the file that stands in git as a claim's result is ours; see ``inspect``."""
        return inspect(self.components, claim, file)

    def restore(self, claim: Claim) -> Claim:
        """Make a tombstone's text the result of its action again, if it is proven to be ours; what
        is not proven is dropped, and the tombstone stays.

        Raises:
            Unavailable, Denied: Vault has the key and cannot be asked; the tombstone waits.
        """
        key = claim.key
        data = claim.result.encode()
        ours = self.components.verifier.ours(data, action_id=key.action_id, blob=key.blob)
        self.led()
        if not ours:
            self._audit("result_dropped", claim, reason="its signature is not ours")
            return self.components.ledger.update(replace(claim, result=""))
        self._audit(
            "result_restored", claim, reason="its action is there and its signature is ours"
        )
        return self.components.ledger.update(replace(claim, phase=Phase.ENDED))

    def retire(self, claim: Claim) -> None:
        """The result is in git and the grant is dead: forget the run, then release the claim.

        In this order: a crash in between leaves the claim, which is retired again.
        """
        self.led()
        self.components.scheduler.forget(claim)
        self.led()
        self.components.ledger.release(claim)

    def _resubmit(self, claim: Claim, vetted: Vetted) -> Claim:
        """Nobody unwrapped and nobody can: mint anew under the same claim, and submit again.

        What is left of the old grant goes only when the new one stands in the claim: until then a
        crash asks the vault again, and must get the same answer.
        """
        failures = self._failures.get(claim.key.token, [])
        if len(failures) >= SUBMIT_TRIES:
            why = f"it could not be submitted {len(failures)} times in a row: {failures[-1]}"
            outcome = _never_started(Verdict.ERROR, why)
            return self._end(claim, outcome, revoked=self._try_revoke(claim))
        old = claim.grant
        spec = spec_of(
            vetted,
            settings=self.components.settings,
            commit=claim.commit,
            approved_by=claim.approved_by,
            outcome_key=claim.outcome_key,
        )
        lifetime_s = _lifetime_s(self.components.settings, spec.timeout_s)
        try:
            wrapped = self._mint(spec, lifetime_s=lifetime_s)
        except (PolicyMissing, Misconfigured) as never:
            return self._end(claim, _never_started(Verdict.ERROR, str(never)), revoked=False)
        try:
            self.led()
            claim = self.components.ledger.update(
                replace(
                    claim, phase=Phase.CLAIMED, grant=wrapped.grant, stopped=False, engine_id=""
                )
            )
        except Exception as error:
            self._give_up(claim.key, wrapped.grant, error)
            raise
        if old is not None:
            self.components.grants.revoke(old)
        self._audit("submitted_again", claim, reason="the run had not started")
        return self._submit(claim, spec, wrapped, lifetime_s=lifetime_s)

    def _mint(self, spec: RunSpec, *, lifetime_s: int) -> WrappedGrant:
        """A provisional grant, after what is left of one minted in vain for the same action has
        been revoked: however often its claim fails, an action has one at a time.
        """
        left = self._unclaimed.get(spec.key.action_id)
        if left is not None:
            if all(claim.grant != left for claim in self.components.ledger.open_runs()):
                self.components.grants.revoke(left)
            del self._unclaimed[spec.key.action_id]
        self.led()
        return self.components.grants.mint(spec.key, spec.secrets, lifetime_s=lifetime_s)

    def _give_up(self, key: RunKey, grant: Grant, error: Exception) -> None:
        """End at once a grant whose claim could not be written.

        Where the claim may stand all the same (an answer that was lost), the wrapping is left until
        the next try, because it is the proof that nothing started: ``settle`` finds it unused and
        submits the run again.
        """
        if len(self._unclaimed) >= REMEMBERED:
            self._unclaimed.clear()  # those left end with their provisional life
        self._unclaimed[key.action_id] = grant
        try:
            if isinstance(error, _NOT_WRITTEN):
                self.components.grants.revoke(grant)
                del self._unclaimed[key.action_id]
            else:
                self.components.grants.withdraw(grant)
        except (Unavailable, Denied) as trouble:  # the failure that led here is the one to raise
            self.note(trouble)

    def _submit(
        self, claim: Claim, spec: RunSpec, wrapped: WrappedGrant, *, lifetime_s: int
    ) -> Claim:
        try:
            self.components.grants.extend(wrapped.grant, lifetime_s=lifetime_s)
        except Misconfigured as never:
            # A place must not be taken for as long as nobody mends the settings.
            self.components.grants.revoke(wrapped.grant)
            return self._end(claim, _never_started(Verdict.ERROR, str(never)), revoked=True)
        self.led()
        try:
            engine_id = self.components.scheduler.submit(spec, wrapped, job=claim.job)
        except CannotSubmit as never:
            self.components.grants.revoke(wrapped.grant)
            outcome = _never_started(Verdict(never.verdict), str(never))
            return self._end(claim, outcome, revoked=True)
        except Misconfigured:
            # Nothing was started. The grant must not wait for the person who mends it; what is
            # left of it says later that it was not used.
            try:
                self.components.grants.withdraw(wrapped.grant)
            except (TemporaryError, Denied) as trouble:  # the failure that led here is to be raised
                self.note(trouble)
            raise
        except (TemporaryError, Denied):
            raise
        except Exception as error:
            # Another program's words may hold anything; a result is public.
            why = str(error) if isinstance(error, DisintoError) else type(error).__name__
            self._failures.setdefault(claim.key.token, []).append(why)
            raise
        self._failures.pop(claim.key.token, None)
        self.led()
        return self.components.ledger.update(
            replace(claim, phase=Phase.SUBMITTED, engine_id=engine_id, submitted_at=time.time())
        )

    def _end(
        self, claim: Claim, outcome: Outcome, *, engine: Engine | None = None, revoked: bool
    ) -> Claim:
        """Sign the result and record the verdict. From here on it cannot be lost."""
        self._failures.pop(claim.key.token, None)
        engine = engine or Engine(kind=self.components.settings.scheduler, job=claim.engine_id)
        now = time.time()
        try:
            text = of_run(claim, outcome, engine, now=now).to_json()
        except (ValueError, TypeError, OverflowError) as error:
            said = f"the runner left what no result can hold ({error})"
            outcome = _only_verdict(outcome, said)
            text = of_run(claim, outcome, engine, now=now).to_json()
        self.led()
        text = self._signed(claim, text)
        ended = replace(claim, phase=Phase.ENDED, result=text, revoked=revoked)
        try:
            ended = self.components.ledger.update(ended)
        except ClaimTooLarge as error:
            outcome = _without_outputs(outcome, str(error))
            text = self._signed(claim, of_run(claim, outcome, engine, now=now).to_json())
            ended = self.components.ledger.update(replace(ended, result=text))
        if claim.stopped:  # what ends it is the result in git, whatever its engine knows
            self._audit("closed", ended, reason="its result was in git already")
        else:
            self._audit("ended", ended, reason=outcome.error, verdict=outcome.verdict)
        return ended

    def _signed(self, claim: Claim, text: str) -> str:
        """The result signed, or as it is where that cannot be done now: an engine does not keep an
        outcome for ever, so a key that cannot be used must not hold up the verdict. What the
        ledger holds is ours, and is signed before it is pushed.
        """
        policies = claim.grant.policies if claim.grant else ()
        entry = Entry(action_id=claim.key.action_id, text=text, policies=policies)
        if self.components.settings.attestation.transit_key and Dependency.VAULT in self.resting():
            return text
        try:
            return self.components.seal(entry)
        except Exception as error:  # noqa: BLE001 - told, and tried again by the result's writer
            self.note(error)
            return text

    def _try_revoke(self, claim: Claim) -> bool:
        """True once the grant is dead; a vault that is down must not hold up the verdict."""
        if claim.grant is None:
            return True
        if Dependency.VAULT in self.resting():
            return False
        try:
            self.components.grants.revoke(claim.grant)
        except (Unavailable, Denied) as error:
            self.note(error)
            return False
        return True

    def led(self) -> None:
        """Raises ``LeadLost`` where the lead is not held any more."""
        if not self.lease.held():
            raise LeadLost("this dispatcher is not the leader any more")

    def _audit(self, event: str, claim: Claim, **facts: object) -> None:
        self.components.audit.append(
            event, action=claim.key.action_id, blob=claim.key.blob, commit=claim.commit, **facts
        )


def spec_of(
    vetted: Vetted,
    *,
    settings: Settings,
    commit: str,
    approved_by: tuple[str, ...],
    outcome_key: str,
) -> RunSpec:
    """What the runner is told of a vetted action."""
    action, formula = vetted.candidate.action, vetted.formula
    if action is None or formula is None:
        raise ValueError(f"action {vetted.candidate.key.action_id} is not fit to run")
    model = action.model or settings.agent.default_model
    return RunSpec(
        key=vetted.candidate.key,
        commit=commit,
        tier=vetted.candidate.tier or Tier.HIGH,
        approved_by=approved_by,
        formula=formula.ref,
        formula_text=formula.text,
        context=action.context,
        secrets=action.secrets,
        mounts=action.mounts,
        model=model,
        tools=action.tools,
        params=action.params,
        agent_argv=_agent_argv(formula, settings, model, action.tools),
        timeout_s=min(action.timeout_minutes * 60, max(1, round(settings.limits.max_run_s))),
        kill_grace_s=registry.get(settings.scheduler).kill_grace_s(settings),
        vault_addr=settings.vault.runner_addr or settings.vault.addr,
        vault_namespace=settings.vault.namespace,
        kv_mount=settings.vault.kv_mount,
        kv_prefix=settings.vault.kv_prefix,
        outcome_key=outcome_key,
    )


def _agent_argv(
    formula: Formula, settings: Settings, model: str, tools: tuple[str, ...]
) -> tuple[str, ...]:
    if formula.ref.kind is not FormulaKind.AGENT:
        return ()
    return fill_command(settings.agent.command, model=model, tools=tools)


def _lifetime_s(settings: Settings, timeout_s: int) -> int:
    """Seconds a grant may live: the wait for a place, the run, and a margin."""
    return settings.grants.placement_wait_s + timeout_s + settings.grants.margin_s


def _never_started(verdict: Verdict, error: str) -> Outcome:
    return Outcome(verdict=verdict, exit_code=VERDICT_EXIT[verdict], error=error)


def _only_verdict(outcome: Outcome, error: str) -> Outcome:
    """What is left of an outcome that no result can represent: it is no success any more."""
    verdict = Verdict.ERROR if outcome.verdict is Verdict.SUCCEEDED else outcome.verdict
    return _never_started(verdict, error)


def _without_outputs(outcome: Outcome, why: str) -> Outcome:
    """An outcome without its outputs, as the runner itself leaves out what it cannot report: the
    verdict stays the formula's own.
    """
    error = f"the outputs were left out: {why}"
    if outcome.error:
        error = f"{outcome.error}; {error}"
    return replace(outcome, error=error, outputs={})


def _lost() -> Outcome:
    return _never_started(
        Verdict.LOST,
        "the run may have started and its engine does not know it any more; it is not run again: "
        "look at what it did, then use a new id",
    )
