"""A dispatcher without threads and clocks: what ``ControlLoop`` does, over the real ``reconcile``,
``Effects``, ``Heads`` and ``Arrivals``, each of whose calls is a micro-step.

``components_in_memory`` has what it acts through, and ``actions_with_rules`` what its actions ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dispatcher.decide.reconcile import reconcile
from dispatcher.decide.steps import (
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
)
from dispatcher.decide.world import Limits, World
from dispatcher.errors import Conflict, Dependency, TemporaryError
from dispatcher.loop.arrivals import Arrivals
from dispatcher.loop.effects.acting import Acting
from dispatcher.loop.effects.cancelling import Cancelling
from dispatcher.loop.effects.ending import Ending
from dispatcher.loop.effects.launching import Launching
from dispatcher.loop.endings import ERRAND, Endings
from dispatcher.loop.foreign import inspect
from dispatcher.loop.heads import Heads
from dispatcher.loop.outgoing import Entry, Pushed
from dispatcher.loop.result_writer import ResultWriter
from dispatcher.loop.results import of_rejection
from dispatcher.loop.view import WithResult
from dispatcher.model.run import Claim
from dispatcher.ops_repo import OutputsRefused
from dispatcher.status.tracker import Silent
from tests.fakes.actions_with_rules import candidate_of
from tests.fakes.actors import Actor
from tests.fakes.components_in_memory import Components, Lead, View

NO_PAUSE = (0.0, 0.0)


@dataclass
class Work:
    """A step or an errand under way, and what its end means."""

    actor: Actor
    learn: Callable[[Any], None]
    failed: Callable[[Exception], None]


class Pollers:
    """The dispatcher's errands as micro-steps."""

    def __init__(self, work: dict[str, Work]) -> None:
        self._work = work

    def free(self, dependency: Dependency | None, name: str = "") -> bool:
        return f"~{name or dependency}" not in self._work

    def run(
        self,
        dependency: Dependency | None,
        ask: Callable[[], Any],
        learn: Callable[[Any], None],
        *,
        name: str = "",
        failed: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        if self.free(dependency, name):
            self._work[f"~{name or dependency}"] = Work(
                actor=Actor(ask), learn=learn, failed=failed
            )


class Dispatcher:
    """One process: its memory, and its steps under way."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self.lead = Lead()
        lead: Any = self.lead
        loose: Any = components
        acting = Acting(components=loose, lease=lead, clock=lambda: components.now)
        self._led = acting.led
        self._ending = Ending(acting)
        self._launching = Launching(acting, self._ending)
        self._cancelling = Cancelling(acting)
        self._claims = dict(components.ledger.claims)
        self._fresh: set[str] = set()  # claims that changed after the engine was asked
        self._doubtful = False
        self._starting: dict[str, str] = {}
        self.actors: dict[str, Work] = {}
        pollers: Any = Pollers(self.actors)
        self._view: Any = View(components.repo)
        self._arrivals = Arrivals(
            loose,
            self._view.tree,
            pollers=pollers,
            tracker=Silent(),
            claimed=lambda action_id: action_id in self._claims,
            pauses_s=NO_PAUSE,
        )
        self._heads = Heads(
            loose,
            self._view,
            pollers=pollers,
            tracker=Silent(),
            led=self._led,
            know=self._know,
            arrived=lambda changes, first: self._arrivals.came(changes, first=first),
            pauses_s=NO_PAUSE,
            record_every_s=0.0,
        )
        self._endings = Endings(loose, self._view.tree, pollers=pollers, pauses_s=NO_PAUSE)
        repo: Any = components.repo
        self._reports: list[Pushed] = []
        self._writer = ResultWriter(
            repo,
            sign_result=components.sign_result,
            verifier=components.verifier,
            report=self._reports.append,
            outputs=components.outputs,
            check=self._led,
        )
        self.look()
        self.observe()

    @property
    def memory_pending(self) -> bool:
        """Whether something has still to be recorded."""
        return self._heads.pending or not self._heads.followed

    def look(self) -> None:
        """Fetch, and follow as far as that goes at once."""
        self._components.repo.fetch()
        self._heads.look()

    def observe(self) -> None:
        """Ask the engine."""
        self._seen, self._fresh = self._components.scheduler.seen(), set()

    def read_claims(self) -> None:
        """Ask the ledger; what is under way is newer than the answer."""
        known = self._components.ledger.claims
        for action_id in (self._claims.keys() | known.keys()) - self.actors.keys():
            if action_id not in known:
                self._claims.pop(action_id)
            elif self._claims.get(action_id) != known[action_id]:
                self._know(known[action_id])
        self._doubtful = False

    def begin(self, which: int) -> bool:
        """Begin one of the steps that reconcile decides on, or a poller; False if there is nothing
        to do and nothing under way.
        """
        if self._doubtful:
            self.read_claims()
        self._heads.go_on()
        self._arrivals.look()
        for name in [n for n in self.actors if n.startswith("~")]:
            self._settle_up(name)
        self._heads.check()
        decided = reconcile(self._world()).steps if self._heads.followed else ()
        steps = [step for step in decided if not self._is_held(step)]
        if not steps:
            return bool(self.actors)
        step = steps[which % len(steps)]
        action_id = step.action_id
        act, learn = self._act(step)
        if isinstance(step, Launch):
            self._starting[action_id] = step.candidate.lock

        def failed(error: Exception) -> None:
            if isinstance(error, OutputsRefused):
                self._restate(action_id)
            else:
                self._in_doubt(error)

        self.actors[action_id] = Work(actor=Actor(act), learn=learn, failed=failed)
        self._settle_up(action_id)
        return True

    def _is_held(self, step: Step) -> bool:
        return isinstance(step, Retire) and self._heads.unrecorded(step.action_id)

    def _restate(self, action_id: str) -> None:
        claim = self._claims.get(action_id)
        if claim is not None:
            self.actors[action_id] = Work(
                actor=Actor(lambda: self._ending.restate(claim)),
                learn=self._know,
                failed=self._in_doubt,
            )

    def _in_doubt(self, error: Exception) -> None:
        if not isinstance(error, TemporaryError | Conflict):
            raise error
        self._doubtful = True

    def go_on(self, name: str, fate: Any) -> None:
        """The next micro-step of what is under way."""
        actor = self.actors[name].actor
        if not actor.over:  # one that had nothing to ask is over at once
            actor.go_on(fate)
        self._settle_up(name)

    def die(self) -> None:
        """The process is gone, and all it knew."""
        for work in self.actors.values():
            while not work.actor.over:
                work.actor.go_on(None)
        self.actors.clear()

    def _settle_up(self, name: str) -> None:
        work = self.actors[name]
        if not work.actor.over:
            return
        del self.actors[name]
        self._starting.pop(name, None)
        if work.actor.error is None:
            work.learn(work.actor.answer)
        elif name.startswith("~") and not isinstance(work.actor.error, TemporaryError | Conflict):
            raise work.actor.error
        else:
            work.failed(work.actor.error)

    def _know(self, claim: Claim) -> None:
        self._claims[claim.key.action_id] = claim
        self._fresh.add(claim.key.action_id)

    def _retired(self, claim: Claim) -> None:
        self._claims.pop(claim.key.action_id, None)
        self._arrivals.forget(claim.key.action_id)

    def _act(self, step: Step) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        match step:
            case Launch():
                return lambda: self._launching.launch(step, approved_by=()), self._know
            case ResolveOrphan():
                return lambda: self._launching.resolve_orphan(step), self._know
            case Conclude():
                return lambda: self._ending.conclude(step), self._know
            case Revoke():
                return lambda: self._ending.revoke(step), self._know
            case StopSuperseded():
                return lambda: self._cancelling.stop_superseded(step), self._know
            case Cancel():
                return lambda: self._cancelling.cancel(step), self._know
            case Restore():
                return lambda: self._ending.restore(step), self._know
            case Retire(claim=claim):
                return lambda: self._ending.retire(step), lambda _none: self._retired(claim)
            case Inspect(claim=claim):
                action_id = claim.key.action_id
                where = self._arrivals.inspecting(action_id)
                components: Any = self._components
                return (
                    lambda: inspect(components, claim, where),
                    lambda foreign: self._arrivals.inspected(action_id, foreign),
                )
            case Publish(claim=claim):
                entry = Entry.of(claim)
                return lambda: self._publish(entry), self._pushed
            case Reject():
                result = of_rejection(step, now=0.0)
                entry = Entry(action_id=result.id, text=result.to_json())
                return lambda: self._publish(entry), self._pushed
        raise AssertionError(step)

    def _publish(self, entry: Entry) -> None:
        self._led()
        self._writer._write([entry])
        error = self._reports.pop().error
        if error is not None:
            raise error

    def _pushed(self, _none: object) -> None:
        self._heads.look()

    def _world(self) -> World:
        tree = self._view.tree
        positions = self._components.repo.positions(tree.commit) if tree.commit else {}
        unapproved = self._components.unapproved
        candidates = {
            i: candidate_of(file, order=positions[i], approved=i not in unapproved)
            for i, file in tree.open.items()
        }
        self._endings.look(candidates)
        if f"~{ERRAND}" in self.actors:
            self._settle_up(f"~{ERRAND}")
        return World(
            candidates=candidates,
            published=WithResult(tree),
            provenance=self._arrivals.provenance,
            cancels=self._components.cancels,
            archived=tree.archived,
            claims=self._claims,
            observations=self._seen,
            unsettled=self._fresh,
            busy={*self.actors, *self._heads.withheld},
            limits=Limits(max_in_flight=2),
            paused={},
            down=frozenset(),
            outages={},
            commit="c",
            revision=0,
            starting=self._starting,
            claims_in_doubt=self._doubtful,
            now=self._components.now,
            unread={},
            ended=self._endings.ended,
        )
