"""A term of leadership: the objects that work together in it, and the world they describe.

All are created for each term, so that no state of an earlier term is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dispatcher.decide.world import GateState, Limits, World
from dispatcher.engines import registry
from dispatcher.errors import Dependency
from dispatcher.ledger.base import Lease
from dispatcher.loop.archive import Archive
from dispatcher.loop.archive_passes import ArchivePasses
from dispatcher.loop.asking_again import AskingAgain
from dispatcher.loop.cancel_requests import CancelRequests
from dispatcher.loop.claim_cache import ClaimCache
from dispatcher.loop.cleanup import Cleanup
from dispatcher.loop.components import Components
from dispatcher.loop.endings import Endings
from dispatcher.loop.executor import Executor
from dispatcher.loop.heads import RECORD_EVERY_S, Heads
from dispatcher.loop.inventory_restoring import InventoryRestoring
from dispatcher.loop.missed_reports import MissedReports
from dispatcher.loop.outages import Outages
from dispatcher.loop.outgoing import NewAction, Pushed
from dispatcher.loop.output_retention import OutputRetention
from dispatcher.loop.pollers import Pollers
from dispatcher.loop.polls import (
    ClaimPoll,
    EnginePoll,
    FetchPoll,
    LeadPoll,
    SecretNamesPoll,
    VettingPoll,
)
from dispatcher.loop.progress_poll import ProgressPoll
from dispatcher.loop.reloading import Reloading
from dispatcher.loop.sources import Sources
from dispatcher.loop.steps import Steps
from dispatcher.loop.view import View, WithResult
from dispatcher.loop.withdrawn import Written
from dispatcher.status.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Term:
    """The objects of one term; see the class of each."""

    components: Components
    view: View
    outages: Outages
    executor: Executor
    pollers: Pollers
    claims: ClaimCache
    steps: Steps
    heads: Heads
    reloading: Reloading
    fetching: FetchPoll
    asking_again: AskingAgain
    vetting: VettingPoll
    lead: LeadPoll
    engine: EnginePoll
    ledger: ClaimPoll
    secret_names: SecretNamesPoll
    cancels: CancelRequests
    endings: Endings
    archiving: ArchivePasses
    output_retention: OutputRetention
    cleanup: Cleanup
    sources: Sources
    inventory: InventoryRestoring
    progress: ProgressPoll

    def world(self) -> World:
        """The present facts, for ``reconcile``."""
        resting = self.outages.resting()
        candidates = self.view.candidates()
        self.vetting.note_failures()
        self.steps.retries.keep(self.view.tree.open, self.claims.claims)
        limits = self.components.settings.limits
        return World(
            candidates=candidates,
            published=WithResult(self.view.tree),
            archived=self.view.tree.archived,
            claims=self.claims.claims,
            observations=self.engine.observations,
            unsettled=self._unsettled(),
            limits=Limits(max_in_flight=limits.max_in_flight, formulas=limits.formulas),
            busy=self.steps.busy | self.heads.withheld,
            provenance=self.steps.arrivals.provenance,
            cancels=self.cancels.requested(),
            paused=self._paused(),
            down=resting | self._unknown(),
            outages={d: outage.error for d, outage in self.outages.outages().items()},
            commit=self.view.tree.commit,
            revision=self.view.revision,
            now=time.time(),
            unread=self.view.unread_orders(),
            starting=self.steps.launching,
            claims_in_doubt=self.claims.in_doubt,
            ended=self.endings.ended,
        )

    def work(self, *, once: bool) -> None:
        """Begin all polls that are due.

        Args:
            once: leave out those that can wait for the next ``serve``.
        """
        self.reloading.work()
        back = self._back()
        self.fetching.work(back)
        self.asking_again.work()
        self.vetting.work()
        self.lead.work()
        self.engine.work(back)
        self.progress.work()
        self.heads.go_on()
        self.steps.arrivals.look()
        self.cancels.look(self.claims.claims, self.pollers)
        self.endings.look(self.view.candidates())
        self.ledger.work(back)
        self.secret_names.work(back)
        self.steps.reports.work(self.view.tree)
        self.sources.work(ready=self._may_write())
        self.inventory.work(ready=self._may_write())
        if self._archives(once=once):
            self.archiving.work(self.view.tree, keep=self.claims.claims)
            self.output_retention.work()
        if self.heads.followed and not once:
            in_use = (self.claims.claims, self.steps.busy)
            self.cleanup.work(published=WithResult(self.view.tree), in_use=in_use)

    def next_in(self, *, once: bool) -> float | None:
        """Seconds until something falls due by itself; None if nothing does."""
        pauses = (
            self.fetching.next_in(),
            self.asking_again.next_in(),
            self.vetting.next_in(),
            self.engine.next_in(),
            self.progress.next_in(),
            self.steps.retries.next_try_in(),
            self.pollers.next_try_in(),
            self.outages.next_try_in(),
            self.view.next_question_in(),
            self.cancels.next_in(self.pollers),
            self.endings.next_try_in(),
            self.reloading.next_in(),
            self.archiving.next_in() if self._archives(once=once) else None,
            self.output_retention.next_in() if self._archives(once=once) else None,
            self.heads.next_try_in(),
            self.steps.arrivals.next_try_in(),
            self.steps.reports.next_in(),
            self.sources.next_in() if self._may_write() else None,
            self.inventory.next_in() if self._may_write() else None,
        )
        return min((pause for pause in pauses if pause is not None), default=None)

    def _archives(self, *, once: bool) -> bool:
        return self.heads.followed and self.lead.confirmed and not once

    def _may_write(self) -> bool:
        """Whether it is known which ids are used, so that sources may be asked."""
        known = self.heads.followed and not self.heads.in_doubt and not self.claims.in_doubt
        return known and self.lead.confirmed and not self.reloading.under_way

    def _back(self) -> frozenset[Dependency]:
        """Dependencies that were down and may be retried."""
        back = self.outages.outages().keys() - self.outages.resting()
        if (
            Dependency.FORGE in back
            and not self.steps.answer_reports
            and not any(c.gate_state is GateState.UNASKED for c in self.view.candidates().values())
        ):
            # Nothing waits for the forge, and there is no cheap call to test it with.
            self.outages.answered(Dependency.FORGE)
        return frozenset(back)

    def _unknown(self) -> set[Dependency]:
        """Dependencies that count as down although no call failed: the remote before the first fetch,
        because what is published is unknown; the lead before it is confirmed.
        """
        remote = set() if self.heads.followed else {Dependency.REMOTE}
        return remote if self.lead.confirmed else remote | {Dependency.LEAD}

    def _paused(self) -> dict[str, str]:
        """Ids whose last step failed, and those without a claim whose file could not be vetted: a run does not
        need its file any more.
        """
        vetting, claims = self.vetting.retries.paused(), self.claims.claims
        unvetted = {i: why for i, why in vetting.items() if i not in claims}
        return {**unvetted, **self.steps.retries.paused()}

    def _unsettled(self) -> set[str]:
        """Ids whose claim is too new for the last observation, or whose action has not been read, so
        that nothing may be concluded about them yet.
        """
        if not self.heads.followed:
            return set(self.claims.claims)
        return self.claims.changed_since(self.engine.asked_at) | self.view.unread


def begin_term(
    components: Components, view: View, lease: Lease, *, tracker: Tracker, once: bool = False
) -> Term:
    """Create the objects of a term; does no I/O yet.

    Args:
        view: a fresh one.
        lease: the lead.
        tracker: receives all that ``status``, metrics and logs show.
        once: whether it ends when all is done, so that nothing waits for more.
    """
    settings = components.settings
    outages, claims = Outages(), ClaimCache()
    executor = Executor(settings.limits.workers)
    pollers = Pollers(executor, outages, tracker)

    def moved(followed: Callable[[], None] = lambda: None) -> None:
        """Something of ours was pushed."""
        fetching.left()
        heads.look(followed)

    def write(actions: Sequence[NewAction]) -> None:
        heads.writing(action.action_id for action in actions)
        steps.write(actions)

    def written(pushed: Pushed) -> None:
        """The source goes on once it is recorded whether somebody touched the files meanwhile."""
        fetching.left()
        heads.not_written(action.action_id for action in pushed.actions)
        if (brought := pushed.brought()) and pushed.published:
            commit, recorded = pushed.published.commit, partial(sources.pushed, pushed)
            heads.wrote(Written(action_ids=brought, commit=commit, recorded=recorded))
        else:
            sources.pushed(pushed)

    steps = Steps(
        components,
        view,
        lease,
        claim_cache=claims,
        executor=executor,
        outages=outages,
        pollers=pollers,
        tracker=tracker,
        moved=moved,
        written=written,
    )
    missed = MissedReports(
        components, view.tree, claims.claims, reports=steps.reports, pollers=pollers
    )
    sources = Sources(
        components,
        view,
        claims.claims,
        pollers=pollers,
        tracker=tracker,
        write=write,
        led=steps.led,
        resting=outages.resting,
        ended=missed.look,
    )
    heads = Heads(
        components,
        view,
        pollers=pollers,
        tracker=tracker,
        led=steps.led,
        know=steps.know,
        arrived=lambda changes, first: steps.arrivals.came(changes, first=first),
        record_every_s=0.0 if once else RECORD_EVERY_S,
    )

    fetching = FetchPoll(
        components.repo,
        pollers,
        every_s=settings.ops_repo.poll_interval_s,
        moved=heads.look,
    )

    def archived(actions: int) -> None:
        tracker.event("archived", actions=actions)
        moved()

    engine = EnginePoll(components.scheduler, claims, pollers)
    return Term(
        components=components,
        view=view,
        outages=outages,
        executor=executor,
        pollers=pollers,
        claims=claims,
        steps=steps,
        heads=heads,
        reloading=Reloading(components.rules, view, pollers, tracker),
        fetching=fetching,
        asking_again=AskingAgain(view),
        vetting=VettingPoll(view, pollers, tracker),
        lead=LeadPoll(components.leadership, pollers, outages),
        engine=engine,
        progress=ProgressPoll(
            components.scheduler, claims, pollers, observations=lambda: engine.observations
        ),
        ledger=ClaimPoll(
            components.ledger, claims, pollers, executor, busy=steps.busy, know=steps.know
        ),
        secret_names=SecretNamesPoll(components.grants, view, pollers),
        cancels=CancelRequests(components, view, tracker=tracker, resting=outages.resting),
        endings=Endings(components, view.tree, pollers=pollers),
        archiving=ArchivePasses(
            Archive(components.repo, after_days=settings.archive.after_days),
            pollers,
            led=steps.led,
            moves=settings.archive.automatic,
            moved=archived,
        ),
        output_retention=OutputRetention(
            components.repo.outputs,
            pollers,
            tracker,
            led=steps.led,
            keep_months=settings.output.keep_months,
            record=components.steady_clock.record,
        ),
        cleanup=Cleanup(
            components.scheduler,
            pollers,
            led=steps.led,
            every_s=registry.get(settings.scheduler).tidying_interval_s(settings),
        ),
        sources=sources,
        inventory=InventoryRestoring(
            components,
            view,
            claims.claims,
            pollers=pollers,
            tracker=tracker,
            led=steps.led,
            moved=moved,
        ),
    )
