"""A tenure: one term of leadership, from taking up what is there to stopping or losing the lead.

One thread owns all state. It never waits on the network, nor on the clone: whatever does (fetch,
observe, vetting, the steps of a plan) runs on a pool and comes back as an event. Between two events
it asks ``reconcile`` what is to be done, and starts that. Nothing that decides is held in memory
alone, so that it can die anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from dispatcher.decide.steps import Launch, Plan, Retire, Step
from dispatcher.decide.world import Candidate, GateState, Limits, World
from dispatcher.engines import registry
from dispatcher.errors import Dependency, DisintoError, TemporaryError, Unavailable
from dispatcher.ledger.base import Lease
from dispatcher.loop.archive import Archive
from dispatcher.loop.archive_passes import ArchivePasses
from dispatcher.loop.cancel_requests import ERRAND as CANCELS
from dispatcher.loop.cancel_requests import CancelRequests
from dispatcher.loop.claim_cache import ClaimCache
from dispatcher.loop.cleanup import Cleanup
from dispatcher.loop.components import Components
from dispatcher.loop.decisions import decide
from dispatcher.loop.effects.acting import LeadLost
from dispatcher.loop.executor import Executor
from dispatcher.loop.heads import Heads
from dispatcher.loop.outages import Outages
from dispatcher.loop.pollers import Pollers
from dispatcher.loop.reloading import Reloading
from dispatcher.loop.retries import Retries
from dispatcher.loop.steps import Steps
from dispatcher.loop.view import View, WithResult
from dispatcher.model.run import Claim, Observation, RunKey
from dispatcher.status.tracker import Status, Tracker

OBSERVE_EVERY_S = 5.0
"""Seconds between two looks at the engine while runs are in flight and nothing rings."""

LONGEST_SLEEP_S = 30.0
LONGEST_GATHER_S = 0.1
GATHER = 19
"""How much longer than a round took its successor is waited for, while things happen."""

LONGEST_LOOK_AWAY_S = 0.5
LOOK_AWAY = 4
"""How much longer than a look at the engine took the next one is waited for, while it rings."""

ONCE_TRIES = 6
"""Tries in a row after which ``once`` gives up; with the pauses between them about 15 s."""


class ControlLoop:
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
        components: Components,
        view: View,
        lease: Lease,
        *,
        tracker: Tracker,
        name: str,
        once: bool = False,
    ) -> None:
        self._components, self._view, self._lease = components, view, lease
        self._tracker, self._name, self._once = tracker, name, once
        self._dependencies = Outages()
        settings, limits = components.settings, components.settings.limits
        self._limits = Limits(max_in_flight=limits.max_in_flight, formulas=limits.formulas)
        self._executor = Executor(limits.workers)
        self._pollers = Pollers(self._executor, self._dependencies, tracker)
        self._claim_cache = ClaimCache()
        self._steps = Steps(
            components,
            view,
            lease,
            claim_cache=self._claim_cache,
            executor=self._executor,
            dependencies=self._dependencies,
            pollers=self._pollers,
            tracker=tracker,
            moved=self._moved,
        )
        self._heads = Heads(
            components,
            view,
            pollers=self._pollers,
            tracker=tracker,
            led=self._steps.led,
            know=self._steps.know,
            arrived=lambda changes, first: self._steps.arrivals.came(changes, first=first),
        )
        self._archiving = ArchivePasses(
            Archive(components.repo, after_days=settings.archive.after_days),
            self._pollers,
            led=self._steps.led,
            moves=settings.archive.automatic,
            moved=self._archived,
        )
        self._tidying = Cleanup(
            components.scheduler,
            self._pollers,
            led=self._steps.led,
            every_s=registry.get(settings.scheduler).tidying_interval_s(settings),
        )
        self._reloading = Reloading(components.rules, view, self._pollers, tracker)
        self._cancels = CancelRequests(
            components, view, tracker=tracker, resting=self._dependencies.resting
        )
        self._unread = Retries()
        self._observations: Mapping[RunKey, Observation] | None = None
        self._observed_at = 0.0
        self._confirmed = False
        self._round_s = 0.0
        self._fetch_at = self._observe_at = 0.0
        self._observe_again_at = 0.0
        self._stopping = False

    # -- rung from other threads ----------------------------------------------------------

    def look_now(self) -> None:
        """Fetch at once and ask gates anew: a webhook, or a person, said so."""
        self._executor.post(self._look_now)

    def reload(self) -> None:
        """Read the rules' files at once: a person says that they changed."""
        self._executor.post(self._reloading.ask)

    def notify(self) -> None:
        """A run may have changed: ask the engine at once."""
        self._executor.post(self._observe_soon)

    def stop(self) -> None:
        """End when the steps under way are done; runs go on without us."""
        self._executor.post(self._stop)

    @property
    def worked(self) -> bool:
        """Whether it came so far as to know the ops repo: failures after this
        point are not configuration errors."""
        return self._heads.followed

    # -- the loop -------------------------------------------------------------------------

    def serve(self) -> None:
        """Go round until stopped, the lead is lost, or (``once``) all is done.

        Raises:
            LeadLost: another process may lead by now.
            DisintoError: the ledger cannot be read at the start; with ``once`` also a failure that
                did not go away.
        """
        self._reloading.open()
        self._claim_cache.open(self._components.ledger.open_runs())
        self._components.wake.answer(self.notify)
        self._steps.open()
        try:
            while not self._stopping:
                if not self._lease.held():
                    raise LeadLost("this dispatcher is no longer the leader")
                plan = self._round()
                if self._once and self._done(plan):
                    return
                if self._once:
                    self._give_up()
                # A round's cost grows with what waits; deciding must not take most of the time.
                gather_s = min(LONGEST_GATHER_S, GATHER * self._round_s)
                self._executor.attend(self._idle_s(), gather_s=gather_s)
        finally:
            self._executor.dismiss()
            self._steps.close()

    def _round(self) -> Plan:
        began = time.monotonic()
        self._run_errands()
        self._heads.check()
        world = self._world()
        plan = decide(world, self._steps)
        for step in plan.steps:
            if self._may_begin(step):
                self._steps.begin(step)
        plan = replace(plan, waits=(*plan.waits, *self._view.waits()))
        tree = self._view.tree
        self._round_s = time.monotonic() - began
        self._tracker.status(
            Status(
                leader=self._name,
                head=tree.commit,
                plan=plan,
                claims=dict(self._claim_cache.claims),
                outages=self._dependencies.outages(),
                round_at=time.time(),
                round_s=self._round_s,
                open_actions=len(tree.open),
                finished_actions=len(tree.finished),
                archived_actions=len(tree.archived),
                warnings=(*self._heads.warnings, *self._view.warnings, *self._defects()),
                foreign=self._steps.arrivals.foreign,
                cancels=self._cancels.notes(),
                candidates=world.candidates,
                rules=self._components.rules.digests(),
                failures={**self._unread.errors(), **self._steps.retries.errors()},
                observations=self._observations or {},
                newest=self._newest(),
            )
        )
        return plan

    def _defects(self) -> list[str]:
        """Errands that fail for a reason that is no outage, for people."""
        return [
            f"{name} failed and will be retried: {error}"
            for name, error in self._pollers.errors().items()
        ]

    def _newest(self) -> tuple[str, ...] | None:
        """Results that arrived while this process looked on, and the newest of those before."""
        before = self._archiving.newest
        return None if before is None else tuple(dict.fromkeys((*self._view.arrived, *before)))

    def _may_begin(self, step: Step) -> bool:
        """False for what has to wait until something is over that is under way here."""
        if isinstance(step, Launch):
            return not self._reloading.under_way
        # Until its head is recorded, a result must not be all that tells of its run.
        return not (isinstance(step, Retire) and self._heads.unrecorded)

    def _world(self) -> World:
        resting = self._dependencies.resting()
        candidates = self._view.candidates()
        while self._view.failed:
            action_id, error = self._view.failed.popitem()
            self._unread.failed(action_id, error)
            self._tracker.event("defect", where="vet", action=action_id, error=error)
        self._steps.retries.keep(self._view.tree.open, self._claim_cache.claims)
        self._unread.keep(self._view.tree.open, ())
        return World(
            candidates=candidates,
            published=WithResult(self._view.tree),
            archived=self._view.tree.archived,
            claims=self._claim_cache.claims,
            observations=self._observations,
            unsettled=self._unsettled(),
            limits=self._limits,
            busy=self._steps.busy | self._heads.withheld,
            provenance=self._steps.arrivals.provenance,
            cancels=self._cancels.requested(),
            paused=self._steps.retries.paused(),
            down=resting | self._unknown(),
            outages={d: outage.error for d, outage in self._dependencies.outages().items()},
            commit=self._view.tree.commit,
            revision=self._view.revision,
        )

    def _unknown(self) -> set[Dependency]:
        """What cannot be relied on although nobody has called it down: before the first fetch, what
        is published already; before this installation is known to lead, whether to start anything.
        """
        remote = set() if self._heads.followed else {Dependency.REMOTE}
        return remote if self._confirmed else remote | {Dependency.LEAD}

    def _unsettled(self) -> set[str]:
        """Claims about which nothing may be concluded yet: they changed after the engine was
        asked, or nobody has looked into the repository, or the file, for what they would run.
        """
        if not self._heads.followed:
            return set(self._claim_cache.claims)
        return self._claim_cache.changed_since(self._observed_at) | self._view.unread

    def _done(self, plan: Plan) -> bool:
        at_work = (
            plan.steps
            or self._steps.busy
            or self._pollers
            or self._steps.reporting
            or self._steps.reports
            or self._steps.retries
            or self._view.unread
            or self._cancels.unread
            or self._heads.pending
            or self._steps.arrivals.pending
            or self._claim_cache.has_open()
        )
        known = self._heads.followed and self._confirmed and not self._claim_cache.doubtful
        return known and not self._dependencies.outages() and not at_work

    def _give_up(self) -> None:
        """Raise what does not go away: ``once`` must not wait forever."""
        for dependency, outage in self._dependencies.outages().items():
            if outage.tries >= ONCE_TRIES:
                raise Unavailable(
                    dependency,
                    f"{outage.error.rstrip('.')}. Tried {outage.tries} times; gave up",
                    remedy="The next 'disinto serve' takes up what is left",
                )
        # A folder of formulas that is not there does not come back by itself.
        error = (
            self._pollers.hopeless(1)
            or self._steps.retries.hopeless(ONCE_TRIES)
            or self._unread.hopeless(ONCE_TRIES)
        )
        if isinstance(error, DisintoError):
            raise error
        if error is not None:
            raise TemporaryError(f"a step failed {ONCE_TRIES} times in a row: {error}") from error

    def _idle_s(self) -> float:
        """Seconds until something falls due by itself."""
        now = time.monotonic()
        due = [LONGEST_SLEEP_S]
        # An errand that is due and cannot be run now is run when the one under way is back.
        if self._pollers.free(Dependency.REMOTE):
            due.append(self._fetch_at - now)
        if self._claim_cache.in_flight() and self._pollers.free(Dependency.SCHEDULER):
            due.append(self._observe_at - now)
        pauses = (
            self._steps.retries.next_try_in(),
            self._unread.next_try_in(),
            self._pollers.next_try_in(),
            self._dependencies.next_try_in(),
            self._view.next_question_in(),
            self._cancels.next_try_in() if self._pollers.free(None, CANCELS) else None,
            self._reloading.next_in(),
            self._archiving.next_in() if self._archives() else None,
            self._heads.next_try_in(),
            self._steps.arrivals.next_try_in(),
            self._steps.reports.next_in(),
        )
        due.extend(pause for pause in pauses if pause is not None)
        return max(0.01, min(due))

    # -- errands: questions to the world, each under way once at a time ---------------------

    def _run_errands(self) -> None:
        now = time.monotonic()
        self._reloading.work()
        back = self._rested()
        fetch, observe = (
            self._pollers.free(Dependency.REMOTE),
            self._pollers.free(Dependency.SCHEDULER),
        )
        if fetch and (now >= self._fetch_at or Dependency.REMOTE in back):
            self._fetch_at = now + self._components.settings.ops_repo.poll_interval_s
            self._pollers.run(
                Dependency.REMOTE, self._components.repo.fetch, lambda _head: self._moved()
            )
        self._vet()
        self._confirm_lead()
        in_flight = self._claim_cache.in_flight()
        due = in_flight and now >= self._observe_at
        if observe and (due or Dependency.SCHEDULER in back):
            self._observe_at = now + OBSERVE_EVERY_S
            self._pollers.run(
                Dependency.SCHEDULER,
                lambda: self._look_at_engine(in_flight),
                lambda answer: self._observed(*answer, asked_at=now),
            )
        self._heads.go_on()
        self._steps.arrivals.look()
        self._cancels.look(self._claim_cache.claims, self._pollers)
        unsure = self._claim_cache.due(busy=self._steps.busy) or Dependency.LEDGER in back
        if unsure and self._pollers.free(Dependency.LEDGER):
            self._read_claims()
        if unresolved := self._view.unresolved():
            self._pollers.run(
                Dependency.VAULT,
                self._components.grants.secret_names,
                lambda names: self._view.learn_secrets(names, unresolved),
            )
        elif Dependency.VAULT in back:
            self._pollers.run(
                Dependency.VAULT, self._components.grants.secret_names, lambda _names: None
            )
        self._steps.reports.work(self._view.tree)
        if self._archives():
            self._archiving.work(self._view.tree, keep=self._claim_cache.claims)
        if self._heads.followed and not self._once:
            in_use = (self._claim_cache.claims, self._steps.busy)
            self._tidying.work(published=WithResult(self._view.tree), in_use=in_use)

    def _archives(self) -> bool:
        return self._heads.followed and self._confirmed and not self._once

    def _confirm_lead(self) -> None:
        """Ask whether this installation leads the ops repo, as long as that is not known, and when
        a fetch saw that somebody wrote the lead.
        """
        leadership = self._components.leadership
        self._confirmed = self._confirmed and not leadership.strayed()
        asked = {Dependency.REMOTE, Dependency.LEDGER}
        if (not self._confirmed or leadership.due()) and not asked & self._dependencies.resting():
            self._pollers.run(Dependency.LEAD, leadership.confirm, self._lead_confirmed)

    def _lead_confirmed(self, _none: None) -> None:
        self._confirmed = True

    def _vet(self) -> None:
        """Have files read that are new or changed."""
        if not self._pollers.free(None, "vet"):
            return
        vetting = self._view.begin_vetting(resting=self._unread.paused())
        if vetting is not None:
            self._pollers.run(
                None,
                vetting.read,
                self._vetted,
                name="vet",
                failed=lambda _error: self._view.not_vetted(),
            )

    def _vetted(self, answers: Mapping[str, Candidate | Exception]) -> None:
        for action_id in self._view.vetted_now(answers):
            self._unread.succeeded(action_id)

    def _rested(self) -> frozenset[Dependency]:
        """Those that were down and may be asked again. Each is asked something even where no step
        needs it now: an outage must end when the dependency is back.
        """
        rested = self._dependencies.outages().keys() - self._dependencies.resting()
        if (
            Dependency.FORGE in rested
            and not self._steps.reporting
            and not any(c.gate_state is GateState.UNASKED for c in self._view.candidates().values())
        ):
            # Nothing waits for the forge; there is no question that would cost it nothing.
            self._dependencies.answered(Dependency.FORGE)
        return frozenset(rested)

    def _archived(self, moved: int) -> None:
        self._tracker.event("archived", actions=moved)
        self._moved()

    def _read_claims(self) -> None:
        """What the ledger holds, after a step ended in doubt or somebody else may have written."""
        self._claim_cache.begin_reading()

        def learn(claims: Mapping[str, Claim]) -> None:
            enter, strike = self._claim_cache.differences(claims, busy=self._steps.busy)
            for claim in enter:
                self._steps.know(claim)
            for claim in strike:
                self._claim_cache.strike(claim)

        def ask() -> Mapping[str, Claim]:
            try:
                return {c.key.action_id: c for c in self._components.ledger.open_runs()}
            except Exception:
                self._executor.post(self._claim_cache.doubt)
                raise

        self._pollers.run(Dependency.LEDGER, ask, learn)

    def _moved(self) -> None:
        """The clone may show another head: follow it."""
        self._heads.look()

    def _look_at_engine(self, claims: list[Claim]) -> tuple[Mapping[RunKey, Observation], float]:
        """What the engine says, and the seconds it took to say it."""
        began = time.monotonic()
        return self._components.scheduler.observe(claims), time.monotonic() - began

    def _observed(
        self, seen: Mapping[RunKey, Observation], took_s: float, *, asked_at: float
    ) -> None:
        self._observations, self._observed_at = seen, asked_at
        pause_s = min(LONGEST_LOOK_AWAY_S, LOOK_AWAY * took_s)
        self._observe_again_at = time.monotonic() + pause_s
        self._observe_at = max(self._observe_at, self._observe_again_at)

    def _look_now(self) -> None:
        self._fetch_at = 0.0
        self._dependencies.wake(Dependency.LEAD)  # somebody may have taken it over for us
        self._view.invalidate_answers()
        self._claim_cache.doubt()  # somebody may have cancelled what waited

    def _observe_soon(self) -> None:
        self._observe_at = min(self._observe_at, self._observe_again_at)

    def _stop(self) -> None:
        self._stopping = True
