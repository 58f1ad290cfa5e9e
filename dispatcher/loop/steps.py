"""Carries out the steps that ``reconcile`` decided, on the executor, and records their outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from dispatcher.decide.steps import (
    Ask,
    Cancel,
    Conclude,
    Inspect,
    Launch,
    Publish,
    Reject,
    ResolveOrphan,
    Restore,
    Retire,
    Revoke,
    Step,
    StopSuperseded,
    needs,
)
from dispatcher.errors import Denied, Dependency, Unavailable, unexpected
from dispatcher.gate.base import Decision, Question
from dispatcher.ledger.base import Lease
from dispatcher.loop.answer_reports import AnswerReports
from dispatcher.loop.arrivals import Arrivals
from dispatcher.loop.claim_cache import ClaimCache
from dispatcher.loop.components import Components
from dispatcher.loop.effects.acting import Acting, LeadLost
from dispatcher.loop.effects.cancelling import Cancelling
from dispatcher.loop.effects.ending import Ending
from dispatcher.loop.effects.judging import ApprovalGone, Judging
from dispatcher.loop.effects.launching import FormulaChanged, Launching, TimePassed
from dispatcher.loop.end_reporters import joined
from dispatcher.loop.executor import Executor
from dispatcher.loop.fence import RulesChanged
from dispatcher.loop.foreign import inspect
from dispatcher.loop.outages import Outages
from dispatcher.loop.outbox import NAME as OUTBOX
from dispatcher.loop.outbox import Outbox
from dispatcher.loop.outgoing import Entry, NewAction, Pushed
from dispatcher.loop.pollers import Pollers
from dispatcher.loop.reports import Reports
from dispatcher.loop.result_writer import ResultWriter
from dispatcher.loop.results import of_rejection
from dispatcher.loop.retries import Retries
from dispatcher.loop.view import View
from dispatcher.model.result import Result
from dispatcher.model.run import Claim, Phase
from dispatcher.ops_repo import OutputsRefused
from dispatcher.status.tracker import Tracker

T = TypeVar("T")
S = TypeVar("S", bound=Step)


class Steps:
    """Carries out steps, one at a time for each action. Used by the loop's thread only.

    Attributes:
        launching: the lock that each launch under way takes ("" for none), by id.

    Args:
        components: the adapters.
        view: of the ops repo.
        lease: the lead, without which nothing is written.
        claim_cache: where claims are entered.
        executor: runs the steps.
        outages: dependencies that are down.
        pollers: notified of failures and recoveries.
        tracker: receives events.
        moved: called when a push of results moved the head, with what is to be called once the view
            follows.
        written: called with the outcome of a batch that had actions.
    """

    def __init__(
        self,
        components: Components,
        view: View,
        lease: Lease,
        *,
        claim_cache: ClaimCache,
        executor: Executor,
        outages: Outages,
        pollers: Pollers,
        tracker: Tracker,
        moved: Callable[[Callable[[], None]], None],
        written: Callable[[Pushed], None] = lambda _pushed: None,
    ) -> None:
        self._written = written
        self._components, self._view, self._claim_cache, self._executor = (
            components,
            view,
            claim_cache,
            executor,
        )
        self._outages, self._pollers, self._tracker = outages, pollers, tracker
        self._moved = moved
        self.retries = Retries()
        self.arrivals = Arrivals(
            components,
            view.tree,
            pollers=pollers,
            tracker=tracker,
            claimed=lambda action_id: action_id in claim_cache.claims,
        )
        self.busy: set[str] = set()
        self.launching: dict[str, str] = {}
        self.answer_reports = AnswerReports(components.reporter, executor, outages, pollers)
        self.reports = Reports(
            joined(components.reporter, components.issue_reporter),
            Outbox(components.settings.state_dir / OUTBOX),
            executor=executor,
            resting=outages.resting,
            tracker=tracker,
        )
        acting = Acting(
            components=components,
            lease=lease,
            fence=components.rules.fence,
            resting=outages.resting,
            note=lambda error: executor.post(lambda: pollers.trouble(error)),
        )
        self._writer = ResultWriter(
            components.repo,
            sign_result=components.sign_result,
            sign_action=components.sign_action,
            verifier=components.verifier,
            outputs=components.outputs,
            check=acting.led,
            report=lambda pushed: executor.post(lambda: self._pushed(pushed)),
        )
        self.led = acting.led
        self._judging = Judging(components)
        self._ending = Ending(acting)
        self._launching = Launching(acting, self._ending)
        cancelling = Cancelling(acting)
        self._by_kind: Mapping[type[Step], Callable[[Any], None]] = {
            Ask: self._ask,
            Reject: self._reject,
            Launch: self._launch,
            Publish: self._publish,
            Inspect: self._inspect,
            Retire: self._retire,
            ResolveOrphan: self._change(self._launching.resolve_orphan),
            Conclude: self._conclude,
            Revoke: self._change(self._ending.revoke),
            Restore: self._change(self._ending.restore),
            Cancel: self._change(cancelling.cancel),
            StopSuperseded: self._change(cancelling.stop_superseded),
        }

    def open(self) -> None:
        """Start the writer of results, and report on issues."""
        if self._components.issue_reporter is not None:
            self._components.issue_reporter.lead(self.led)
        self.reports.open()
        self._writer.start()

    def close(self) -> None:
        """Write the queued results, then stop the writer; report on issues no more."""
        if self._components.issue_reporter is not None:
            self._components.issue_reporter.rest()
        self._writer.stop()

    def write(self, actions: Sequence[NewAction]) -> None:
        """Have actions of ours signed and pushed together; ``written`` is called with the outcome."""
        self._writer.put(*actions)

    def know(self, claim: Claim) -> None:
        """Enter a claim into the cache, and report it."""
        self._claim_cache.enter(claim)
        self._tracker.event("claim", action=claim.key.action_id, phase=claim.phase)

    def begin(self, step: Step) -> None:
        """Begin one step; its action is busy until the step ends. Any exception is a failure of this
        step alone: it ends neither the loop nor another step.
        """
        try:
            self._begin(step)
        except Exception as error:  # noqa: BLE001 - reported and retried, with its action
            self._step_failed(step, error)

    def blame(self, action_id: str, where: str, error: Exception) -> None:
        """Pause an action, because an unexpected error keeps anything from being decided about it."""
        self.retries.failed(action_id, error)
        self._tracker.event("defect", where=where, action=action_id, error=error)

    def _begin(self, step: Step) -> None:
        self._by_kind[type(step)](step)

    def _change(self, act: Callable[[S], Claim]) -> Callable[[S], None]:
        """The handler of a kind of step that changes a claim, and nothing else."""
        return lambda step: self._step(step, lambda: act(step), self.know)

    def _ask(self, step: Ask) -> None:
        question = Question.about(step.candidate, commit=self._view.tree.commit)
        last_answer = self._view.last_answer(step.action_id)
        self._step(
            step,
            lambda: self._check_gate(step, question, last_answer),
            lambda answer: self._judged(question, *answer),
        )

    def _reject(self, step: Reject) -> None:
        result = of_rejection(step, now=time.time())
        self._tracker.event("rejected", action=result.id, verdict=step.verdict, reason=step.reason)
        self._step(step, lambda: self._judging.reject(result), self._hand_in_rejection)

    def _launch(self, step: Launch) -> None:
        question = Question.about(step.candidate, commit=step.commit)
        last_answer = self._view.last_answer(step.action_id)

        def launch() -> Claim:
            decision = self._judging.confirm(question, last_answer=last_answer)
            return self._launching.launch(step, approved_by=decision.approved_by)

        self.launching[step.action_id] = step.candidate.lock
        self._step(step, launch, self.know)

    def _conclude(self, step: Conclude) -> None:
        self._writer.expect()  # its result follows
        self._change(self._ending.conclude)(step)

    def _publish(self, step: Publish) -> None:
        self._hand_in(Entry.of(step.claim))

    def _restate(self, action_id: str) -> None:
        """Make the result of a claim again, without the output that could not be pushed."""
        claim = self._claim_cache.claims.get(action_id)
        if claim is not None:
            step = Publish(claim=claim)
            self._step(step, lambda: self._ending.restate(claim), self.know)

    def _inspect(self, step: Inspect) -> None:
        file = self.arrivals.inspecting(step.action_id)
        self._step(
            step,
            lambda: inspect(self._components, step.claim, file),
            lambda foreign: self.arrivals.inspected(step.action_id, foreign),
        )

    def _retire(self, step: Retire) -> None:
        if not self.reports.hold(step.claim, self._view.tree):
            self._step(
                step, lambda: self._ending.retire(step), lambda _none: self._retired(step.claim)
            )

    def _retired(self, claim: Claim) -> None:
        self._claim_cache.remove(claim)
        self.arrivals.forget(claim.key.action_id)

    def _check_gate(
        self, step: Ask, question: Question, last_answer: Decision | None
    ) -> tuple[Decision, float]:
        """The gate's decision, and when the check began (monotonic seconds)."""
        if Dependency.FORGE in needs(step) & self._outages.resting():
            # It was queued while the forge went down; each queued call would run into the timeout.
            raise Unavailable(Dependency.FORGE, "the forge was unavailable a moment ago")
        asked_at = time.monotonic()
        return self._judging.ask(question, last_answer=last_answer), asked_at

    def _step(self, step: Step, act: Callable[[], T], learn: Callable[[T], None]) -> None:
        """Carry out one step on the pool; its action is busy until the step ends."""
        action_id = step.action_id
        self.busy.add(action_id)

        def done(answer: T) -> None:
            self.busy.discard(action_id)
            self.launching.pop(action_id, None)
            self._claim_cache.touch(action_id)
            for dependency in _used(step, answer):
                self._pollers.back(dependency, proven=True)
            try:
                learn(answer)
            except Exception as error:  # noqa: BLE001 - as a failure of the step itself
                self._step_failed(step, error)
            else:
                if not isinstance(step, Reject):  # its result has yet to reach git
                    self.retries.succeeded(action_id)

        def failed(error: Exception) -> None:
            self._claim_cache.touch(action_id)
            self._step_failed(step, error)

        begin = self._executor.question if isinstance(step, Ask) else self._executor.step
        begin(act, done, failed)

    def _step_failed(self, step: Step, error: Exception) -> None:
        """After any failure the ledger may hold more than the cache, and the step is retried."""
        action_id = step.action_id
        self.busy.discard(action_id)
        self.launching.pop(action_id, None)
        if isinstance(error, LeadLost):
            return  # the loop notices by itself
        if isinstance(error, ApprovalGone):  # nothing was done
            self._judged(error.question, error.decision, error.asked_at)
            return
        if not isinstance(step, Ask):
            self._claim_cache.mark_stale()
        if isinstance(error, TimePassed):
            return  # what it waits for, or how it ends, is decided in the next round
        if isinstance(error, FormulaChanged | RulesChanged):
            self._view.invalidate(action_id)
            return
        if isinstance(error, Unavailable | Denied):
            self._pollers.trouble(error)
            if error.dependency in needs(step):
                self.retries.note(action_id, error)
                return  # the step waits for it
        tries = self.retries.failed(action_id, error)
        if unexpected(error):
            where = f"step {type(step).__name__.lower()}"
            self._tracker.event("defect", where=where, action=action_id, error=error)
        self._tracker.event("step_failed", action=action_id, tries=tries, error=error)

    def _judged(self, question: Question, decision: Decision, asked_at: float) -> None:
        self._view.learn(question, decision, asked_at=asked_at)
        self._tracker.event(
            "judged",
            action=question.action_id,
            answer=decision.answer,
            gate=decision.gate,
            reason=decision.reason,
        )
        self.answer_reports.show(question, decision)

    def _hand_in_rejection(self, result: Result) -> None:
        self.reports.expect(result)
        self._hand_in(Entry(action_id=result.id, text=result.to_json()))

    def _hand_in(self, entry: Entry) -> None:
        self.busy.add(entry.action_id)
        self._writer.put(entry)

    def _pushed(self, pushed: Pushed) -> None:
        if pushed.actions:
            self._written(pushed)
        action_ids = [e.action_id for e in pushed.results]
        if pushed.error is not None:
            self.busy.difference_update(action_ids)
            self._not_pushed(action_ids, pushed.error)
            return
        for action_id in action_ids:
            self.retries.succeeded(action_id)
        self._pollers.back(Dependency.REMOTE, proven=True)
        for other in pushed.published.replaced if pushed.published else ():
            self.arrivals.replaced(pushed.of(other.path), other)
        self.reports.published(action_ids)
        # Until the view shows them they would be handed in once more.
        self._moved(lambda: self.busy.difference_update(action_ids))
        self._tracker.event("published", results=len(action_ids))

    def _not_pushed(self, action_ids: Sequence[str], error: Exception) -> None:
        if isinstance(error, LeadLost):
            return  # the loop notices by itself
        if isinstance(error, OutputsRefused):
            self._tracker.event("output_not_kept", results=len(action_ids), error=error)
            for action_id in action_ids:
                self._restate(action_id)
        elif isinstance(error, Unavailable | Denied) and error.dependency is Dependency.REMOTE:
            self._pollers.trouble(error)
            for action_id in action_ids:
                self.retries.note(action_id, error)
        else:
            # The remote is up, which does not help: a key cannot be used, or a directory is in
            # the way.
            self._pollers.trouble(error, where="step publish")
            for action_id in action_ids:
                self.retries.failed(action_id, error)


def _used(step: Step, answer: object) -> frozenset[Dependency]:
    """The dependencies that a successful step has proven to be up."""
    before_submit = isinstance(answer, Claim) and answer.phase is not Phase.SUBMITTED
    if isinstance(step, Reject):
        return frozenset()  # it is on record, and not in git yet
    used = needs(step) - {Dependency.LEAD}  # no step asks who leads
    if isinstance(step, Launch | ResolveOrphan) and before_submit:
        return used - {Dependency.SCHEDULER}  # it ended before the engine was asked
    return used
