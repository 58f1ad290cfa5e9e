"""A dispatcher without threads and clocks: what ``ControlLoop`` does, over the real ``reconcile``,
``Effects``, ``Heads`` and ``Arrivals``, each of whose calls is a micro-step.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatcher.attestation import SignatureVerifier, key_id, seal_with
from dispatcher.decide.policy import Policy
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
from dispatcher.decide.tiers import Contribution, Item, TierDecision
from dispatcher.decide.world import Candidate, GateState, Limits, Requested, World
from dispatcher.errors import Conflict, Dependency, TemporaryError
from dispatcher.loop.arrivals import Arrivals
from dispatcher.loop.components import NothingWritten
from dispatcher.loop.effects.acting import Acting
from dispatcher.loop.effects.cancelling import Cancelling
from dispatcher.loop.effects.ending import Ending
from dispatcher.loop.effects.launching import Launching
from dispatcher.loop.endings import ERRAND, Endings
from dispatcher.loop.foreign import inspect
from dispatcher.loop.heads import Heads
from dispatcher.loop.outgoing import Entry, Pushed
from dispatcher.loop.output_keeping import NoOutputs, Outputs
from dispatcher.loop.result_writer import ResultWriter
from dispatcher.loop.results import of_rejection
from dispatcher.loop.view import WithResult
from dispatcher.model.action import Action
from dispatcher.model.approval_need import PLAIN
from dispatcher.model.result import Result
from dispatcher.model.run import Claim, Formula, FormulaKind, FormulaRef, RunKey, Tier
from dispatcher.ops_repo import ActionFile, Changes, Delta, OutputsRefused, Tree
from dispatcher.settings import Settings
from dispatcher.status.tracker import Silent
from tests.fakes.actors import Actor
from tests.fakes.branch import MemoryClone
from tests.fakes.outside import MemoryEngine, MemoryLedger, MemoryVault

REF = FormulaRef(name="hello", kind=FormulaKind.SHELL, blob="f" * 40, sha256="0" * 64)
FORMULA = Formula(ref=REF, path="", text=b"#!/bin/bash\n")
LOW = TierDecision(
    contributions=(Contribution(item=Item.FORMULA, name="hello", tier=Tier.LOW, source=""),),
    reason="",
    need=PLAIN,
    formula_need=PLAIN,
)
SETTINGS = Settings()
NO_PAUSE = (0.0, 0.0)


class Key:
    """Our key. ``signs`` is told of each result that is signed: its facts."""

    def __init__(self, signs: Callable[[dict[str, Any]], None]) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._signs = signs
        public = self._key.public_key()
        self.verifier = SignatureVerifier(lambda: [public])

    def sign(self, data: bytes) -> tuple[str, bytes]:
        return key_id(self._key.public_key()), self._key.sign(data)

    def sign_result(self, entry: Entry) -> str:
        sealed = seal_with(self, entry.text)
        if sealed != entry.text:
            envelope = json.loads(sealed)["attestation"]
            statement = json.loads(base64.b64decode(envelope["payload"]))
            self._signs(statement["predicate"]["result"])
        return sealed


class NoAudit:
    def append(self, event: str, **facts: object) -> None:
        pass


@dataclass
class Notices:
    """What people are notified of; on the disk when it is recorded."""

    recorded: set[RunKey] = field(default_factory=set)

    def record(self, result: Result) -> None:
        self.recorded.add(RunKey(action_id=result.id, blob=result.blob))


class Formulas:
    def by_ref(self, ref: FormulaRef) -> Formula:
        return FORMULA


@dataclass
class Components:
    """What the service uses of the real ones."""

    ledger: MemoryLedger
    grants: MemoryVault
    scheduler: MemoryEngine
    repo: MemoryClone
    key: Key
    audit: NoAudit = field(default_factory=NoAudit)
    formula_store: Formulas = field(default_factory=Formulas)
    notices: Notices = field(default_factory=Notices)
    outputs: Outputs = field(default_factory=NoOutputs)
    settings: Settings = SETTINGS
    cancels: dict[str, Requested] = field(default_factory=dict)  # in git, as they are approved
    unapproved: set[str] = field(default_factory=set)
    now: float = 0.0  # what every clock shows, seconds since the epoch
    written: NothingWritten = field(default_factory=NothingWritten)
    reporter: None = None

    @property
    def sign_result(self) -> Callable[[Entry], str]:
        return self.key.sign_result

    @property
    def verifier(self) -> SignatureVerifier:
        return self.key.verifier


class Lead:
    """A lease that is taken away."""

    def __init__(self) -> None:
        self.is_held = True

    def held(self) -> bool:
        return self.is_held


@dataclass
class View:
    """The tree of the view, without vetting and gates."""

    repo: MemoryClone
    tree: Tree = field(default_factory=Tree)
    policy: Policy = field(default_factory=Policy)

    def enter(self, delta: Delta) -> Changes:
        return self.tree.enter(delta)

    def rewritten(self) -> None:
        pass


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
        held = Retire if self._heads.unrecorded else ()
        steps = [step for step in decided if not isinstance(step, held)]
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


LOCKED = frozenset({"a", "b", "d"})
SUPERSEDING = frozenset({"b", "d"})
"""Actions that share a lock, and those of them that supersede older ones."""

TIMED = "c"
EXPIRES_S = 200.0
TIMES = {"not_before": "1970-01-01T00:01:40Z", "expires": "1970-01-01T00:03:20Z"}
"""When the action that has times may start: from 100 to 200 seconds since the epoch."""

AFTER = {"e": ("a",), "f": ("g",), "g": ("f",)}
"""What runs after what; the last two wait for each other."""


def candidate_of(file: ActionFile, *, order: int, approved: bool) -> Candidate:
    lock = "lock" if file.id in LOCKED else None
    return Candidate(
        key=RunKey(action_id=file.id, blob=file.blob),
        order=order,
        lock=lock or "",
        action=Action(
            id=file.id,
            formula="hello",
            context="",
            secrets=(),
            lock=lock,
            supersedes=file.id in SUPERSEDING,
            after=AFTER.get(file.id, ()),
            **(TIMES if file.id == TIMED else {}),
        ),
        path=file.path,
        formula=FORMULA,
        tier_decision=LOW,
        gate_state=GateState.APPROVED if approved else GateState.WAITING,
    )
