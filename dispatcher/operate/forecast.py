"""The forecast: what the next round of ``serve`` would do, computed without doing it.

For ``disinto plan``, and for ``disinto status`` if no dispatcher runs. It queries what ``serve`` would
query (remote, vault, gate, ledger, engine), each separately: what cannot be reached is reported as an
outage, and everything that does not need it is still shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TypeVar

from dispatcher.decide.reconcile import reconcile, wait_for_retry
from dispatcher.decide.steps import (
    Ask,
    Cancel,
    Conclude,
    Inspect,
    Launch,
    Plan,
    Publish,
    Reject,
    ResolveOrphan,
    Restore,
    Retire,
    Revoke,
    Step,
    StopSuperseded,
    Wait,
)
from dispatcher.decide.world import Candidate, Limits, Provenance, World
from dispatcher.errors import Denied, Dependency, Unavailable
from dispatcher.loop.cancel_requests import CancelRequests
from dispatcher.loop.components import Components
from dispatcher.loop.endings import read_endings
from dispatcher.loop.foreign import in_git, inspect, judged
from dispatcher.loop.progress_poll import AT_ONCE
from dispatcher.loop.view import View, WithResult
from dispatcher.model.cancel_request import CancelNote
from dispatcher.model.health import DependencyHealth, ForeignResult, WaitingFor
from dispatcher.model.job_class import JobVariant
from dispatcher.model.progress import Progress
from dispatcher.model.run import Claim, Observation, RunKey, RunState
from dispatcher.operate.schedules import source_notes
from dispatcher.ops_repo import Head
from dispatcher.settings import GateKind, Settings
from dispatcher.status import status_file
from dispatcher.status.overview import LISTED, OpenAction, Overview, open_actions, waiting
from dispatcher.status.tracker import Silent

T = TypeVar("T")

FOREIGN_LISTED = 200
"""Maximum number of results checked, of those that arrived since a dispatcher last ran."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """The facts that were found, and the plan that follows from them.

    Attributes:
        at: when, seconds since the epoch.
        head: the head that was read; None if there is no clone and the remote is down.
        plan: steps and waits.
        candidates: open actions by id, as vetted and judged.
        claims: open claims by id.
        observations: of the engine, or None if it could not be reached.
        progress: what the runs report about themselves.
        obstacles: why a run cannot reach its engine although it is its turn, by id.
        cancels: requests to cancel; the first few are judged.
        foreign: results that arrived since a dispatcher last ran and that it did not sign; at most
            ``FOREIGN_LISTED`` of the arrivals are checked.
        outages: dependencies that could not be reached, with the error.
        sources: what keeps sources from starting anything, in words.
    """

    at: float
    head: Head | None
    plan: Plan
    view: View
    candidates: Mapping[str, Candidate]
    claims: Mapping[str, Claim]
    observations: Mapping[RunKey, Observation] | None
    obstacles: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[ForeignResult, ...] = ()
    cancels: tuple[CancelNote, ...] = ()
    outages: Mapping[Dependency, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    progress: Mapping[RunKey, Progress] = field(default_factory=dict)

    def actions(self) -> tuple[OpenAction, ...]:
        """The open actions; steps count as actions whose turn it is."""
        return open_actions(
            self._with_turns(),
            self.claims,
            observations=self.observations,
            candidates=self.candidates,
            progress=self.progress,
        )

    def overview(self, settings: Settings) -> Overview:
        """The same as a plain record."""
        tree = self.view.tree
        return Overview(
            at=self.at,
            head=tree.commit,
            open=self.actions(),
            waiting=waiting(self._with_turns(), self.claims),
            dependencies=tuple(
                DependencyHealth(
                    dependency=dependency,
                    up=dependency not in self.outages,
                    since=self.at if dependency in self.outages else 0.0,
                    error=self.outages.get(dependency, ""),
                )
                for dependency in in_use(settings)
            ),
            foreign=self.foreign,
            cancels=self.cancels,
            warnings=self.warnings,
            open_actions=len(tree.open),
            finished_actions=len(tree.finished),
            archived_actions=len(tree.archived),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What deserves attention although everything works, in words."""
        return (*self.view.components.warnings(), *self.view.warnings, *self.sources)

    def _with_turns(self) -> Plan:
        broken = (wait_for_retry(i, error) for i, error in self.view.failed.items())
        turns = _turns(self.plan, self.obstacles)
        return replace(self.plan, waits=(*self.plan.waits, *turns, *broken))


def in_use(settings: Settings) -> tuple[Dependency, ...]:
    """The dependencies that these settings need."""
    always = (
        Dependency.REMOTE,
        Dependency.VAULT,
        Dependency.SCHEDULER,
        Dependency.LEDGER,
        Dependency.LEAD,
    )
    forge = settings.policy.gate is GateKind.FORGEJO
    return (*always, Dependency.FORGE) if forge else always


def forecast(components: Components, view: View) -> Forecast:
    """Query everything once, and decide. Changes nothing but the clone, which it fetches.

    Args:
        components: the adapters.
        view: a fresh one.

    Raises:
        TemporaryError: the operator's formulas directory cannot be read.
    """
    asker = _Asker()
    head = asker.ask(Dependency.REMOTE, components.repo.fetch) or components.repo.local_head()
    if Dependency.REMOTE not in asker.outages:
        asker.ask(Dependency.LEAD, components.leadership.check)
    foreign: tuple[ForeignResult, ...] = ()
    if head is not None:
        arrived = _advance(view, head)
        foreign = asker.ask(Dependency.VAULT, lambda: _foreign(components, view, arrived)) or ()
        view.vet()
    if unresolved := view.unresolved():
        names = asker.ask(Dependency.VAULT, components.grants.secret_names)
        if names is not None:
            view.learn_secrets(names, unresolved)
            view.vet()
    claims = asker.ask(Dependency.LEDGER, components.ledger.open_runs)
    by_id = {claim.key.action_id: claim for claim in claims or ()}
    in_flight = [claim for claim in by_id.values() if claim.in_flight]
    observations = asker.ask(Dependency.SCHEDULER, lambda: components.scheduler.observe(in_flight))
    _ask_gates(components, view, by_id, asker)
    cancels = CancelRequests(components, view, tracker=Silent(), resting=asker.outages.keys)
    cancels.look(by_id)
    limits = components.settings.limits
    candidates = view.candidates()
    plan = reconcile(
        World(
            candidates=candidates,
            published=WithResult(view.tree),
            archived=view.tree.archived,
            provenance=asker.ask(Dependency.VAULT, lambda: _provenance(components, view, by_id))
            or {},
            claims=by_id,
            cancels=cancels.requested(),
            observations=observations,
            limits=Limits(max_in_flight=limits.max_in_flight, formulas=limits.formulas),
            # An outage of the remote holds up results; the rest of the plan is still useful.
            down=asker.outages.keys(),
            outages=asker.outages,
            # Nothing is under way here, and no step is carried out at a head or by a revision.
            unsettled=frozenset(),
            busy=frozenset(),
            paused={},
            commit="",
            revision=0,
            now=time.time(),
            unread=view.unread_orders(),
            ended=asker.ask(Dependency.VAULT, lambda: read_endings(components, view)) or {},
            starting={},
            claims_in_doubt=False,
        )
    )
    obstacles = _obstacles(components, plan, candidates, asker)
    return Forecast(
        at=time.time(),
        head=head,
        plan=plan,
        view=view,
        candidates=candidates,
        claims=by_id,
        observations=observations,
        progress=_progress(components, in_flight, observations or {}),
        obstacles=obstacles,
        foreign=foreign,
        cancels=cancels.notes()[:LISTED],
        outages=dict(asker.outages),
        sources=tuple(n.warning for n in source_notes(components, view, by_id) if n.warning),
    )


def _progress(
    components: Components, claims: Collection[Claim], observations: Mapping[RunKey, Observation]
) -> Mapping[RunKey, Progress]:
    """What some of the runs report about themselves."""
    running = [
        claim
        for claim in claims
        if (seen := observations.get(claim.key)) and seen.state is RunState.RUNNING
    ]
    return components.scheduler.progress(running[:AT_ONCE]) if running else {}


def _advance(view: View, head: Head) -> Collection[str]:
    """Move the view to the head; ids whose result arrived since a dispatcher last ran."""
    seen = head.seen if head.seen_readable else None
    if seen:
        view.advance(seen)
    changes = view.advance(head.commit)
    return changes.arrived if seen else ()


def _foreign(
    components: Components, view: View, arrived: Collection[str]
) -> tuple[ForeignResult, ...]:
    """Foreign results: those that a running dispatcher has found, else those that just arrived."""
    status = status_file.read(components.settings.state_dir)
    if status is not None and status.fresh:
        return status.overview.foreign
    files = (in_git(view.tree, i) for i in islice(sorted(arrived), FOREIGN_LISTED))
    results = (judged(components, file) for file in files if file is not None)
    return tuple(foreign for foreign in results if foreign is not None)


def _provenance(
    components: Components, view: View, claims: Mapping[str, Claim]
) -> dict[str, Provenance]:
    """Who wrote the results in git of claims, by id."""
    published = WithResult(view.tree)
    return {
        i: Provenance.FOREIGN if inspect(components, c, in_git(view.tree, i)) else Provenance.OURS
        for i, c in claims.items()
        if i in published
    }


def _ask_gates(
    components: Components, view: View, claims: Mapping[str, Claim], asker: _Asker
) -> None:
    """Check the gate for each candidate that could run."""
    for action_id, candidate in view.candidates().items():
        if candidate.problem or candidate.unvetted or action_id in claims:
            continue
        if Dependency.FORGE in asker.outages:
            break
        question = view.question(action_id)
        decision = asker.ask(Dependency.FORGE, lambda asked=question: components.gate.check(asked))  # type: ignore[misc]
        if decision is not None:
            view.learn(question, decision, asked_at=time.monotonic())


def _obstacles(
    components: Components, plan: Plan, candidates: Mapping[str, Candidate], asker: _Asker
) -> dict[str, str]:
    """What prevents the runs that are to be submitted, by id; queried once per class and set of
    mounts."""
    ids = [action_id for step in plan.steps if (action_id := _submitted(step))]
    wanted = {
        i: c.placing.variant for i in ids if (c := candidates.get(i)) is not None and c.action
    }
    reasons: dict[JobVariant, str] = {}
    for variant in set(wanted.values()):
        ask = partial(components.obstacle, variant)
        reasons[variant] = asker.ask(Dependency.SCHEDULER, ask) or ""
    return {i: reasons[variant] for i, variant in wanted.items() if reasons[variant]}


def _submitted(step: Step) -> str:
    """The id of an action whose run this step may bring to its engine, or ""."""
    return step.action_id if isinstance(step, Launch | ResolveOrphan) else ""


class _Asker:
    """Queries dependencies, and notes those that could not be reached."""

    def __init__(self) -> None:
        self.outages: dict[Dependency, str] = {}

    def ask(self, dependency: Dependency, question: Callable[[], T]) -> T | None:
        """The answer, or None if the dependency cannot be reached, which is noted."""
        try:
            return question()
        except (Unavailable, Denied) as error:
            self.outages.setdefault(error.dependency or dependency, str(error))
            return None


def _turns(plan: Plan, obstacles: Mapping[str, str]) -> list[Wait]:
    """Waits for what the next round would do, and for runs that cannot be submitted."""
    turns = [
        Wait(
            action_id=step.action_id,
            waiting_for=WaitingFor.TURN,
            reason=at_next_poll(step),
        )
        for step in plan.steps
        if isinstance(step, Ask | Launch | Reject) and step.action_id not in obstacles
    ]
    return turns + [
        Wait(action_id=action_id, waiting_for=WaitingFor.DEPENDENCY, reason=reason)
        for action_id, reason in obstacles.items()
    ]


_DESCRIPTIONS: Mapping[type, str] = {
    Ask: "checks its gate",
    Launch: "starts it",
    ResolveOrphan: "checks in Vault whether it ever started",
    Publish: "pushes its result",
    Inspect: "checks who wrote its result",
    Restore: "restores its result",
    Cancel: "cancels it, as requested",
    Revoke: "revokes its grant",
    StopSuperseded: "stops it, because a result is in git",
    Retire: "releases its claim",
}


def subject_of(step: Step) -> tuple[str, str]:
    """The id that a step is about, and why it is taken; "" if that is obvious."""
    match step:
        case Reject(reason=reason) | Ask(candidate=Candidate(reason=reason)):
            return step.action_id, reason
        case Launch(candidate=Candidate(reason=reason)):
            return step.action_id, reason
        case Cancel(by=by):
            return step.action_id, f"by {by}"
        case _:
            return step.action_id, ""


def at_next_poll(step: Ask | Launch | Reject) -> str:
    """What an action waits for whose turn it is."""
    match step:
        case Ask():
            return "its gate will be checked at the next poll"
        case Launch():
            return "will start at the next poll"
        case Reject():
            return f"its result will be written at the next poll: {step.verdict}"


def in_words(step: Step) -> str:
    """What a step does, for people: ``starts it``."""
    if isinstance(step, Reject):
        return f"writes its result: {step.verdict}"
    if isinstance(step, Conclude):
        outcome = step.observation.outcome
        return f"records its verdict: {outcome.verdict if outcome else 'unknown'}"
    return _DESCRIPTIONS[type(step)]
