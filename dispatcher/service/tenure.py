"""A tenure: one term of leadership, from taking up what is there to stopping or losing the lead.

One thread owns all state. It never waits on the network: whatever does (fetch, observe, the steps
of a plan) runs on a pool and comes back as an event. Between two events it asks ``reconcile`` what
is to be done, and starts that. Nothing is remembered that git, ledger and engine do not hold, so
that it can die anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from dispatcher.archive import Archive, Due
from dispatcher.errors import Denied, Dependency, DisintoError, TemporaryError, Unavailable
from dispatcher.gate.base import Decision, Question
from dispatcher.ledger.base import Lease
from dispatcher.reconcile import (
    Abandon,
    Ask,
    Conclude,
    Launch,
    Limits,
    Plan,
    Publish,
    Reject,
    Retire,
    Revoke,
    Settle,
    Standing,
    Step,
    World,
    needs,
    reconcile,
)
from dispatcher.results import Entry, Pushed, ResultWriter, of_rejection
from dispatcher.run import Claim, Observation, Phase, RunKey
from dispatcher.service.crew import Crew
from dispatcher.service.dependencies import Dependencies
from dispatcher.service.effects import Effects, FormulaChanged, LeadLost
from dispatcher.service.memory import remember
from dispatcher.service.parts import Parts, Reporter
from dispatcher.service.retries import Retries
from dispatcher.service.view import View, WithResult
from dispatcher.service.watch import Status, Watch

OBSERVE_EVERY_S = 5.0
"""Seconds between two looks at the engine while runs are in flight and nothing rings."""

ARCHIVE_EVERY_S = 3_600.0
LONGEST_SLEEP_S = 30.0
LONGEST_GATHER_S = 0.1
GATHER = 9
"""How much longer than a round took its successor is waited for, while things happen."""

LONGEST_LOOK_AWAY_S = 0.5
LOOK_AWAY = 4
"""How much longer than a look at the engine took the next one is waited for, while it rings."""

REREAD_EVERY_S = 60.0
"""Seconds between two looks at the whole ledger: what others wrote there (``disinto cancel`` on
another machine, a leader that was on its way out) is learned without a ring."""

ONCE_TRIES = 6
"""Tries in a row after which ``once`` gives up; with the pauses between them about 15 s."""

T = TypeVar("T")


class Tenure:
    """See the module.

    Args:
        parts: what it acts through.
        view: of the ops repo; fresh, so that nothing of an earlier term is believed.
        lease: the lead.
        watch: told of everything that ``status``, metrics and logs show.
        name: of this process.
        once: end as soon as nothing is in flight and nothing can be started.
    """

    def __init__(
        self,
        parts: Parts,
        view: View,
        lease: Lease,
        *,
        watch: Watch,
        name: str,
        once: bool = False,
    ) -> None:
        self._parts, self._view, self._lease = parts, view, lease
        self._watch, self._name, self._once = watch, name, once
        self._dependencies = Dependencies()
        limits = parts.settings.limits
        self._limits = Limits(max_in_flight=limits.max_in_flight, formulas=limits.formulas)
        self._crew = Crew(limits.workers)
        self._effects = Effects(
            parts=parts,
            lease=lease,
            resting=self._dependencies.resting,
            note=lambda error: self._crew.post(lambda: self._trouble(error)),
        )
        self._writer = ResultWriter(
            parts.repo,
            seal=parts.seal,
            check=self._effects.led,
            report=lambda pushed: self._crew.post(lambda: self._pushed(pushed)),
        )
        self._archive = Archive(parts.repo, after_days=parts.settings.archive.after_days)
        self._claims: dict[str, Claim] = {}
        self._touched: set[str] = set()  # ids that changed since the ledger was last asked
        self._claim_changed: dict[str, float] = {}
        self._observations: Mapping[RunKey, Observation] | None = None
        self._observed_at = 0.0
        self._busy: set[str] = set()
        self._away: set[str] = set()  # names of the errands under way
        self._reporting = 0
        self._retries = Retries()
        self._doubtful = False  # the ledger may hold something else than we know
        self._unread: set[str] = set()  # ids whose claim is another, but that were busy
        self._fetched = False
        self._round_s = 0.0
        self._fetch_at = self._observe_at = self._archive_at = 0.0
        self._observe_again_at = 0.0
        self._reread_at = time.monotonic() + REREAD_EVERY_S
        self._stopping = False

    # -- rung from other threads ----------------------------------------------------------

    def look_now(self) -> None:
        """Fetch at once and ask gates anew: a webhook, or a person, said so."""
        self._crew.post(self._look_now)

    def ring(self) -> None:
        """A run may have changed: ask the engine at once."""
        self._crew.post(self._observe_soon)

    def stop(self) -> None:
        """End when the steps under way are done; runs go on without us."""
        self._crew.post(self._stop)

    @property
    def worked(self) -> bool:
        """Whether it came so far as to know the ops repo: what ends it then is no mere setting."""
        return self._fetched

    # -- the loop -------------------------------------------------------------------------

    def serve(self) -> None:
        """Go round until stopped, the lead is lost, or (``once``) all is done.

        Raises:
            LeadLost: another process may lead by now.
            DisintoError: the ledger cannot be read at the start; with ``once`` also a failure that
                did not go away.
        """
        self._claims = {c.key.action_id: c for c in self._parts.ledger.open_runs()}
        self._parts.wake.answer(self.ring)
        self._writer.start()
        try:
            while not self._stopping:
                if not self._lease.held():
                    raise LeadLost("this dispatcher is not the leader any more")
                plan = self._round()
                if self._once and self._done(plan):
                    return
                if self._once:
                    self._give_up()
                # A round's cost grows with what waits; deciding must not take most of the time.
                gather_s = min(LONGEST_GATHER_S, GATHER * self._round_s)
                self._crew.attend(self._idle_s(), gather_s=gather_s)
        finally:
            self._crew.dismiss()
            self._writer.stop()

    def _round(self) -> Plan:
        began = time.monotonic()
        if gone := self._view.vet():
            self._watch.event("trouble", error=gone)
            if self._once:
                raise gone
        self._run_errands()
        world = self._world()
        plan = reconcile(world)
        for step in plan.steps:
            self._start(step)
        tree = self._view.tree
        self._round_s = time.monotonic() - began
        self._watch.status(
            Status(
                leader=self._name,
                head=tree.commit,
                plan=plan,
                claims=dict(self._claims),
                outages=self._dependencies.outages(),
                round_at=time.time(),
                round_s=self._round_s,
                open_actions=len(tree.open),
                finished_actions=len(tree.finished),
                archived_actions=len(tree.archived),
                candidates=world.candidates,
            )
        )
        return plan

    def _world(self) -> World:
        resting = self._dependencies.resting()
        candidates = self._view.candidates()
        self._retries.keep(candidates, self._claims)
        return World(
            candidates=candidates,
            published=WithResult(self._view.tree),
            archived=self._view.tree.archived,
            claims=self._claims,
            observations=self._observations,
            unsettled=self._unsettled(),
            limits=self._limits,
            busy=self._busy,
            paused=self._retries.paused(),
            # Before the first fetch nobody knows what is published already.
            down=resting if self._fetched else resting | {Dependency.REMOTE},
        )

    def _unsettled(self) -> set[str]:
        """Claims about which nothing may be concluded yet: they changed after the engine was
        asked, or nobody has looked into the repository for what they would run.
        """
        if not self._fetched:
            return set(self._claims)
        return {i for i, at in self._claim_changed.items() if at >= self._observed_at}

    def _done(self, plan: Plan) -> bool:
        open_claims = any(c.phase is not Phase.TOMBSTONE for c in self._claims.values())
        at_work = (
            plan.steps
            or self._busy
            or self._away
            or self._reporting
            or self._retries
            or open_claims
        )
        settled = self._fetched and not self._doubtful and not self._dependencies.outages()
        return settled and not at_work

    def _give_up(self) -> None:
        """Raise what does not go away: ``once`` must not wait for ever."""
        for dependency, outage in self._dependencies.outages().items():
            if outage.tries >= ONCE_TRIES:
                raise Unavailable(
                    dependency,
                    f"{outage.error.rstrip('.')}. Asked {outage.tries} times; gave up",
                    remedy="What is left is taken up by the next 'disinto serve'",
                )
        error = self._retries.hopeless(ONCE_TRIES)
        if isinstance(error, DisintoError):
            raise error
        if error is not None:
            raise TemporaryError(f"a step failed {ONCE_TRIES} times in a row: {error}") from error

    def _idle_s(self) -> float:
        """Seconds until something falls due by itself."""
        now = time.monotonic()
        due = [LONGEST_SLEEP_S]
        # An errand that is due and cannot be run now is run when the one under way is back.
        if self._free(Dependency.REMOTE):
            due.append(self._fetch_at - now)
        if self._in_flight() and self._free(Dependency.SCHEDULER):
            due.append(self._observe_at - now)
        pauses = (
            self._retries.next_try_in(),
            self._dependencies.next_try_in(),
            self._view.next_question_in(),
        )
        due.extend(pause for pause in pauses if pause is not None)
        return max(0.01, min(due))

    # -- errands: questions to the world, each under way once at a time ---------------------

    def _run_errands(self) -> None:
        now = time.monotonic()
        back = self._rested()
        fetch, observe = self._free(Dependency.REMOTE), self._free(Dependency.SCHEDULER)
        if fetch and (now >= self._fetch_at or Dependency.REMOTE in back):
            self._fetch_at = now + self._parts.settings.ops_repo.poll_interval_s
            self._errand(Dependency.REMOTE, self._parts.repo.fetch, lambda _head: self._moved())
        in_flight = self._in_flight()
        due = in_flight and now >= self._observe_at
        if observe and (due or Dependency.SCHEDULER in back):
            self._observe_at = now + OBSERVE_EVERY_S
            self._errand(
                Dependency.SCHEDULER,
                lambda: self._look_at_engine(in_flight),
                lambda answer: self._observed(*answer, asked_at=now),
            )
        doubtful = self._doubtful or self._unread - self._busy or now >= self._reread_at
        if (doubtful or Dependency.LEDGER in back) and self._free(Dependency.LEDGER):
            self._read_claims()
        if unresolved := self._view.unresolved():
            self._errand(
                Dependency.VAULT,
                self._parts.grants.secret_names,
                lambda names: self._view.learn_secrets(names, unresolved),
            )
        elif Dependency.VAULT in back:
            self._errand(Dependency.VAULT, self._parts.grants.secret_names, lambda _names: None)
        if self._fetched and now >= self._archive_at and not self._once:
            self._archive_at = now + ARCHIVE_EVERY_S
            self._archive_what_is_due()

    def _rested(self) -> frozenset[Dependency]:
        """Those that were down and may be asked again. Each is asked something even where no step
        needs it now: an outage must end when the dependency is back.
        """
        rested = self._dependencies.outages().keys() - self._dependencies.resting()
        if (
            Dependency.FORGE in rested
            and not self._reporting
            and not any(c.standing is Standing.UNASKED for c in self._view.candidates().values())
        ):
            # Nothing waits for the forge; there is no question that would cost it nothing.
            self._dependencies.answered(Dependency.FORGE)
        return frozenset(rested)

    def _archive_what_is_due(self) -> None:
        if not self._parts.settings.archive.automatic:
            return
        due = self._archive.due(self._view.tree, now=time.time(), keep=self._claims)
        if due:
            self._errand(
                Dependency.REMOTE,
                lambda: self._move(due),
                self._archived,
                name="archive",
            )

    def _move(self, due: list[Due]) -> int:
        moves = self._archive.move(due, check=self._effects.led)
        return sum(len(done.written) // 2 for done in moves)

    def _archived(self, moved: int) -> None:
        self._watch.event("archived", actions=moved)
        self._moved()

    def _errand(
        self,
        dependency: Dependency,
        ask: Callable[[], T],
        learn: Callable[[T], None],
        *,
        name: str = "",
    ) -> None:
        name = name or dependency
        if not self._free(dependency, name):
            return
        self._away.add(name)

        def done(answer: T) -> None:
            self._away.discard(name)
            self._is_back(dependency, proven=False)
            learn(answer)

        def failed(error: Exception) -> None:
            self._away.discard(name)
            self._trouble(error, dependency)

        self._crew.errand(ask, done, failed)

    def _free(self, dependency: Dependency, name: str = "") -> bool:
        """Whether an errand can be run now."""
        away = (name or dependency) in self._away
        return not away and dependency not in self._dependencies.resting()

    def _is_back(self, dependency: Dependency, *, proven: bool) -> None:
        if self._dependencies.answered(dependency, proven=proven):
            self._watch.event("back", dependency=dependency)

    def _moved(self) -> None:
        """The clone may show another head: follow it."""
        head = self._parts.repo.local_head()
        if head is None or (self._fetched and head.commit == self._view.tree.commit):
            return
        remembered = remember(self._parts, self._view, head)
        for claim in remembered:
            self._know(claim)
        self._fetched = True

    def _look_at_engine(self, claims: list[Claim]) -> tuple[Mapping[RunKey, Observation], float]:
        """What the engine says, and the seconds it took to say it."""
        began = time.monotonic()
        return self._parts.scheduler.observe(claims), time.monotonic() - began

    def _observed(
        self, seen: Mapping[RunKey, Observation], took_s: float, *, asked_at: float
    ) -> None:
        self._observations, self._observed_at = seen, asked_at
        pause_s = min(LONGEST_LOOK_AWAY_S, LOOK_AWAY * took_s)
        self._observe_again_at = time.monotonic() + pause_s
        self._observe_at = max(self._observe_at, self._observe_again_at)

    def _look_now(self) -> None:
        self._fetch_at = 0.0
        self._view.ask_anew()
        self._doubtful = True  # somebody may have cancelled what waited

    def _observe_soon(self) -> None:
        self._observe_at = min(self._observe_at, self._observe_again_at)

    def _stop(self) -> None:
        self._stopping = True

    def _in_flight(self) -> list[Claim]:
        return [c for c in self._claims.values() if c.phase in (Phase.CLAIMED, Phase.SUBMITTED)]

    # -- steps ----------------------------------------------------------------------------

    def _start(self, step: Step) -> None:
        match step:
            case Ask(candidate=candidate):
                question = self._view.question(candidate.key.action_id)
                asked = self._view.asked.get(candidate.key.action_id)
                known = asked.decision if asked else None
                self._step(
                    step,
                    lambda: self._asked(step, question, known),
                    lambda decision: self._judged(question, decision),
                )
            case Reject(candidate=candidate, verdict=verdict, reason=reason):
                commit = self._view.tree.commit
                result = of_rejection(candidate, verdict, reason, commit=commit, now=time.time())
                self._watch.event("rejected", action=result.id, verdict=verdict, reason=reason)
                self._step(
                    step,
                    lambda: self._effects.reject(result),
                    lambda told: self._hand_in(Entry(action_id=told.id, text=told.to_json())),
                )
            case Launch(candidate=candidate):
                vetted, commit = self._view.vetted[candidate.key.action_id], self._view.tree.commit
                approved_by = candidate.approved_by
                self._step(
                    step,
                    lambda: self._effects.launch(vetted, commit=commit, approved_by=approved_by),
                    self._know,
                )
            case Settle(claim=claim):
                settled = self._view.vetted.get(claim.key.action_id)
                self._step(step, lambda: self._effects.settle(claim, settled), self._know)
            case Conclude(claim=claim, observation=seen) if seen.outcome is not None:
                outcome = seen.outcome
                self._step(
                    step,
                    lambda: self._effects.conclude(claim, outcome, seen.engine),
                    self._know,
                )
            case Publish(claim=claim):
                policies = claim.grant.policies if claim.grant else ()
                self._hand_in(
                    Entry(action_id=claim.key.action_id, text=claim.result, policies=policies)
                )
            case Revoke(claim=claim):
                self._step(step, lambda: self._effects.revoke(claim), self._know)
            case Abandon(claim=claim):
                self._step(step, lambda: self._effects.abandon(claim), self._know)
            case Retire(claim=claim):
                self._step(
                    step,
                    lambda: self._effects.retire(claim),
                    lambda _none: self._forget(claim),
                )

    def _asked(self, step: Ask, question: Question, known: Decision | None) -> Decision:
        if needs(step) & self._dependencies.resting():
            # It stood in line while the forge went down: many that time out are one too many.
            raise Unavailable(Dependency.FORGE, "the forge could not be asked a moment ago")
        return self._effects.ask(question, known=known)

    def _step(self, step: Step, act: Callable[[], T], learn: Callable[[T], None]) -> None:
        """Carry out one step on the pool; its run is left alone until it is back."""
        subject = step.candidate if isinstance(step, Ask | Reject | Launch) else step.claim
        action_id = subject.key.action_id
        self._busy.add(action_id)

        def done(answer: T) -> None:
            self._busy.discard(action_id)
            self._touched.add(action_id)
            if not isinstance(step, Reject):  # its result has yet to reach git
                self._retries.succeeded(action_id)
            for dependency in _used(step, answer):
                self._is_back(dependency, proven=True)
            learn(answer)

        def failed(error: Exception) -> None:
            self._busy.discard(action_id)
            self._touched.add(action_id)
            self._step_failed(step, action_id, error)

        begin = self._crew.question if isinstance(step, Ask) else self._crew.step
        begin(act, done, failed)

    def _step_failed(self, step: Step, action_id: str, error: Exception) -> None:
        """Whatever it was: the ledger may know more than we do, and the run is tried again."""
        if isinstance(error, LeadLost):
            return  # the loop notices by itself
        self._doubtful = self._doubtful or not isinstance(step, Ask)
        if isinstance(error, FormulaChanged):
            self._view.look_again(action_id)
            return
        if isinstance(error, Unavailable | Denied):
            self._trouble(error)
            if error.dependency in needs(step):
                return  # the step waits for it
        tries = self._retries.failed(action_id, error)
        self._watch.event("step_failed", action=action_id, tries=tries, error=error)

    def _read_claims(self) -> None:
        """What the ledger holds, after a step ended in doubt or somebody else may have written.
        What changes here meanwhile may be newer than the answer, and is read once more.
        """
        self._doubtful = False
        self._unread.clear()
        self._touched.clear()
        self._reread_at = time.monotonic() + REREAD_EVERY_S

        def learn(claims: Mapping[str, Claim]) -> None:
            unsure = self._busy | self._touched
            for action_id in self._claims.keys() | claims.keys():
                if self._claims.get(action_id) == claims.get(action_id):
                    continue
                if action_id in unsure:
                    self._unread.add(action_id)
                elif action_id in claims:
                    self._know(claims[action_id])
                else:
                    self._forget(self._claims[action_id])

        def ask() -> Mapping[str, Claim]:
            try:
                return {c.key.action_id: c for c in self._parts.ledger.open_runs()}
            except Exception:
                self._crew.post(self._doubt)
                raise

        self._errand(Dependency.LEDGER, ask, learn)

    def _doubt(self) -> None:
        self._doubtful = True

    def _judged(self, question: Question, decision: Decision) -> None:
        self._view.learn(question, decision)
        self._watch.event(
            "judged",
            action=question.action_id,
            answer=decision.answer,
            gate=decision.gate,
            reason=decision.reason,
        )
        if self._parts.reporter is not None:
            self._report(self._parts.reporter, question, decision)

    def _report(self, reporter: Reporter, question: Question, decision: Decision) -> None:
        """Tell the people of the forge; what it misses while it is down is told with the next
        answer.
        """
        self._reporting += 1

        def report() -> bool:
            if Dependency.FORGE in self._dependencies.resting():
                return False
            reporter.report(question, decision)
            return True

        def done(told: bool) -> None:  # noqa: FBT001
            self._reporting -= 1
            if told:
                self._is_back(Dependency.FORGE, proven=True)

        def failed(error: Exception) -> None:
            self._reporting -= 1
            self._trouble(error, Dependency.FORGE)

        self._crew.question(report, done, failed)

    def _know(self, claim: Claim) -> None:
        self._touched.add(claim.key.action_id)
        self._claims[claim.key.action_id] = claim
        self._claim_changed[claim.key.action_id] = time.monotonic()
        self._watch.event("claim", action=claim.key.action_id, phase=claim.phase)

    def _forget(self, claim: Claim) -> None:
        self._claims.pop(claim.key.action_id, None)
        self._claim_changed.pop(claim.key.action_id, None)

    def _hand_in(self, entry: Entry) -> None:
        self._busy.add(entry.action_id)
        self._writer.put(entry)

    def _pushed(self, pushed: Pushed) -> None:
        action_ids = [e.action_id for e in pushed.entries]
        self._busy.difference_update(action_ids)
        error = pushed.error
        if error is None:
            for action_id in action_ids:
                self._retries.succeeded(action_id)
            self._is_back(Dependency.REMOTE, proven=True)
            self._moved()
            self._watch.event("published", results=len(action_ids))
        elif isinstance(error, LeadLost):
            return  # the loop notices by itself
        elif isinstance(error, Unavailable | Denied) and error.dependency is Dependency.REMOTE:
            self._trouble(error)
        else:
            # The remote's being up does not help: a key that cannot be used, a folder in the way.
            self._trouble(error)
            for action_id in action_ids:
                self._retries.failed(action_id, error)

    def _trouble(self, error: Exception, dependency: Dependency | None = None) -> None:
        """A failure of a dependency: back off, and say so once."""
        if isinstance(error, Unavailable | Denied):
            dependency = error.dependency
        if dependency is None:
            self._watch.event("trouble", error=error)
        elif self._dependencies.failed(dependency, error):
            self._watch.event("down", dependency=dependency, error=error)


def _used(step: Step, answer: object) -> frozenset[Dependency]:
    """What a step that succeeded has shown to be up."""
    on_the_way = isinstance(answer, Claim) and answer.phase is not Phase.SUBMITTED
    if isinstance(step, Reject):
        return frozenset()  # it is on record, and not in git yet
    if isinstance(step, Launch | Settle) and on_the_way:
        return needs(step) - {Dependency.SCHEDULER}  # it ended before the engine was asked
    return needs(step)
