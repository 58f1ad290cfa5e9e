"""The control loop, which runs from taking the lead to stopping or losing it.

One thread owns all state. It never blocks on the network: calls that may (fetch, observe, vetting,
the steps of a plan) run on a pool and come back as events. Between two events the loop calls
``reconcile`` to decide the steps, and starts them. No state that decisions depend on is held in
memory alone, so the process can die anywhere.
"""

from __future__ import annotations

import time
from dataclasses import replace

from dispatcher.decide.steps import Launch, Plan, Retire, Step
from dispatcher.decide.world import World
from dispatcher.errors import Dependency
from dispatcher.ledger.base import Lease
from dispatcher.loop.components import Components
from dispatcher.loop.decisions import decide
from dispatcher.loop.effects.acting import LeadLost
from dispatcher.loop.round_pace import RoundPace
from dispatcher.loop.serve_once import give_up, is_done
from dispatcher.loop.term import begin_term
from dispatcher.loop.view import View
from dispatcher.status.tracker import Status, Tracker

LONGEST_SLEEP_S = 30.0


class ControlLoop:
    """Runs rounds: each polls what is due, decides, begins steps and publishes the status.

    Args:
        components: the adapters.
        view: of the ops repo; a fresh one, so that no state of an earlier term is kept.
        lease: the lead.
        tracker: receives all that ``status``, metrics and logs show.
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
        self._lease, self._tracker, self._name, self._once = lease, tracker, name, once
        self._term = begin_term(components, view, lease, tracker=tracker, once=once)
        self._round_s = 0.0
        self._pace = RoundPace()
        self._stopping = False

    # -- called from other threads --------------------------------------------------------

    def look_now(self) -> None:
        """Fetch at once and check gates again, as a webhook or a person requested."""
        self._term.executor.post(self._look_now)

    def branch_moved(self, head: str = "") -> None:
        """The same after a push. What the gates approved is not asked again: that is done before each
        start, and a push takes no approval back.

        Args:
            head: commit (hex) at which the branch is said to be; see ``FetchPoll.hurry``.
        """
        self._term.executor.post(lambda: self._look_now(head, keep_approvals=True))

    def request_merged(self, number: int, commit: str) -> None:
        """Ask the forge about a pull request that a webhook names, before the gate does: it may have been
        merged by this commit (hex). Nothing is believed of it.
        """
        self._term.executor.post(lambda: self._ask_ahead(number, commit))

    def reload(self) -> None:
        """Read the rules' files at once, as a person requested."""
        self._term.executor.post(self._term.reloading.ask)

    def notify(self) -> None:
        """Observe the engine at once, because a run may have changed."""
        self._term.executor.post(self._term.engine.hurry)

    def ask_sources(self) -> None:
        """Ask the sources at once, because one of them has news."""
        self._term.executor.post(self._term.sources.hurry)

    def stop(self) -> None:
        """Stop when the steps in progress are done; runs keep running."""
        self._term.executor.post(self._stop)

    @property
    def worked(self) -> bool:
        """Whether the loop got as far as reading the ops repo: failures after this
        point are not configuration errors."""
        return self._term.heads.followed

    # -- the loop -------------------------------------------------------------------------

    def serve(self) -> None:
        """Run rounds until stopped, the lead is lost, or (``once``) all is done.

        Raises:
            LeadLost: another process may lead by now.
            DisintoError: the ledger cannot be read at the start; with ``once`` also a failure that
                did not go away.
        """
        term = self._term
        term.reloading.open()
        term.claims.open(term.components.ledger.open_runs())
        term.components.wake.answer(self.notify)
        term.components.sources_changed.answer(self.ask_sources)
        term.components.steady_clock.look()  # before anything is written by this clock
        term.steps.open()
        try:
            while not self._stopping:
                if not self._lease.held():
                    raise LeadLost("this dispatcher is no longer the leader")
                self._pace.begin()
                plan = self._round()
                if self._once and is_done(term, plan):
                    return
                if self._once:
                    give_up(term)
                gather_until = self._pace.decided()
                due_in = term.next_in(once=self._once)
                idle_s = LONGEST_SLEEP_S if due_in is None else min(LONGEST_SLEEP_S, due_in)
                if plan.next_at is not None:
                    idle_s = min(idle_s, plan.next_at - time.time())
                term.executor.attend(max(0.01, idle_s), gather_until=gather_until)
        finally:
            term.executor.dismiss()
            term.steps.close()

    def _round(self) -> Plan:
        began = time.monotonic()
        self._term.work(once=self._once)
        self._term.heads.check()
        world = self._term.world()
        plan = decide(world, self._term.steps)
        for step in plan.steps:
            if self._may_begin(step):
                self._term.steps.begin(step)
        self._term.steps.answer_reports.release(self._term.steps.busy)
        self._term.steps.answer_reports.show_queued(plan.waits, self._term.view.last_answer)
        plan = replace(plan, waits=(*plan.waits, *self._term.view.waits()))
        self._round_s = time.monotonic() - began
        self._tracker.status(self._status(world, plan))
        return plan

    def _may_begin(self, step: Step) -> bool:
        """Whether nothing in progress here prevents this step."""
        if isinstance(step, Launch):
            return not self._term.reloading.under_way
        # Until its head is recorded, a result must not be the only trace of its run.
        return not (isinstance(step, Retire) and self._term.heads.unrecorded(step.action_id))

    def _status(self, world: World, plan: Plan) -> Status:
        term, view, tree = self._term, self._term.view, self._term.view.tree
        failing = [
            f"{name} failed and will be retried: {error}"
            for name, error in term.pollers.errors().items()
        ]
        before = term.archiving.newest
        return Status(
            leader=self._name,
            head=tree.commit,
            plan=plan,
            claims=dict(term.claims.claims),
            outages=term.outages.outages(),
            round_at=time.time(),
            round_s=self._round_s,
            open_actions=len(tree.open),
            finished_actions=len(tree.finished),
            archived_actions=len(tree.archived),
            warnings=(
                *term.heads.warnings,
                *view.warnings,
                *term.sources.warnings,
                *term.inventory.warnings,
                *failing,
            ),
            foreign=term.steps.arrivals.foreign,
            cancels=term.cancels.notes(),
            candidates=world.candidates,
            rules=term.components.rules.digests(),
            failures={**term.vetting.retries.errors(), **term.steps.retries.errors()},
            observations=term.engine.observations or {},
            progress=term.progress.progress,
            # Results that arrived while this process ran, and the newest of those before.
            newest=None if before is None else tuple(dict.fromkeys((*view.arrived, *before))),
            quiet=term.heads.followed
            and not (plan.steps or world.busy or world.unsettled or view.unread),
        )

    # -- events, on the loop's thread ------------------------------------------------------

    def _look_now(self, head: str = "", *, keep_approvals: bool = False) -> None:
        self._term.fetching.hurry(head)
        self._term.outages.wake(Dependency.LEAD)  # a person may have taken it over for us
        self._term.asking_again.request(keep_approvals=keep_approvals)
        self._term.claims.mark_stale()  # a person may have cancelled what waited

    def _ask_ahead(self, number: int, commit: str) -> None:
        if commit == self._term.fetching.head:
            return  # it is late: the gate has asked, or does so now
        if Dependency.FORGE not in self._term.outages.resting():
            self._term.components.ask_ahead(number, commit)

    def _stop(self) -> None:
        self._stopping = True
