"""Exactly once, as a property of every interleaving: the real ``reconcile`` and ``Effects`` over
git, ledger, engine and vault in memory.

Each call of an adapter is one micro-step. Between any two of them the dispatcher may die, lose its
lead and go on later without knowing (a frozen process that thaws), get no answer, or an answer may
be lost after the thing was done. Runners unwrap and start by micro-steps of their own, and engine
and clock do what they like. Whatever happens, no formula starts twice; and when all is quiet again,
each action has one result, and neither a claim nor a grant is left.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.action import Action
from dispatcher.errors import Conflict, Dependency, Unavailable
from dispatcher.ledger.base import AlreadyClaimed
from dispatcher.ops_repo import ActionFile
from dispatcher.reconcile import (
    Abandon,
    Candidate,
    Conclude,
    Launch,
    Limits,
    Publish,
    Retire,
    Revoke,
    Settle,
    Standing,
    Step,
    World,
    reconcile,
)
from dispatcher.run import (
    Claim,
    Engine,
    FormulaKind,
    FormulaRef,
    Grant,
    Observation,
    Outcome,
    RunKey,
    RunSpec,
    RunState,
    Tier,
    Verdict,
    WrappedGrant,
)
from dispatcher.service.effects import Effects, LeadLost
from dispatcher.service.formulas import Formula
from dispatcher.service.intake import Vetted
from dispatcher.settings import Settings

T = TypeVar("T")
IDS = ("a", "b", "c")
REF = FormulaRef(name="hello", kind=FormulaKind.SHELL, blob="f" * 40, sha256="0" * 64)
FORMULA = Formula(ref=REF, path="", text=b"#!/bin/bash\n")
SETTINGS = Settings()
ROUNDS = 400
"""Rounds in which everything must have come to rest once nothing goes wrong any more."""


class Fate(Enum):
    """What becomes of one micro-step."""

    DONE = auto()
    NO_ANSWER = auto()  # it was not done, and the caller learns no more than that
    ANSWER_LOST = auto()  # it was done, and the caller does not learn it


class Killed(BaseException):
    """The process is gone; nothing catches this."""


class Actor:
    """One step of a dispatcher, on a thread that stands still before each micro-step."""

    current: threading.local = threading.local()

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._fate: Fate | None = Fate.DONE
        self.over = False
        self.answer: object = None
        self.error: Exception | None = None
        threading.Thread(target=self._work, daemon=True).start()
        self._stands.acquire()

    def go_on(self, fate: Fate | None) -> None:
        """Do the next micro-step; None kills."""
        self._fate = fate
        self._go.release()
        self._stands.acquire()

    def before(self, dependency: Dependency, do: Callable[[], T]) -> T:
        """A micro-step, on the actor's own thread."""
        self._stands.release()
        self._go.acquire()
        if self._fate is None:
            raise Killed
        if self._fate is Fate.NO_ANSWER:
            raise Unavailable(dependency, "no answer")
        answer = do()
        if self._fate is Fate.ANSWER_LOST:
            raise Unavailable(dependency, "the answer was lost")
        return answer

    def _work(self) -> None:
        Actor.current.actor = self
        try:
            self.answer = self._act()
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001 - the dispatcher's to judge
            self.error = error
        self.over = True
        self._stands.release()


def micro(dependency: Dependency, do: Callable[[], T]) -> T:
    actor: Actor = Actor.current.actor
    return actor.before(dependency, do)


# -- what is outside of the dispatcher -------------------------------------------------------------


@dataclass
class Git:
    actions: dict[str, str] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)


class MemoryLedger:
    """Claims with versions that are never used twice."""

    def __init__(self) -> None:
        self.claims: dict[str, Claim] = {}
        self._versions = itertools.count(1)

    def claim(self, claim: Claim) -> Claim:
        return micro(Dependency.LEDGER, lambda: self._claim(claim))

    def update(self, claim: Claim) -> Claim:
        return micro(Dependency.LEDGER, lambda: self._update(claim))

    def release(self, claim: Claim) -> None:
        return micro(Dependency.LEDGER, lambda: self._release(claim))

    def _claim(self, claim: Claim) -> Claim:
        if claim.key.action_id in self.claims:
            raise AlreadyClaimed(self.claims[claim.key.action_id])
        return self._write(claim)

    def _update(self, claim: Claim) -> Claim:
        self._same(claim)
        return self._write(claim)

    def _release(self, claim: Claim) -> None:
        if claim.key.action_id in self.claims:
            self._same(claim)
            del self.claims[claim.key.action_id]

    def _same(self, claim: Claim) -> None:
        known = self.claims.get(claim.key.action_id)
        if known is None or known.version != claim.version:
            raise Conflict("it changed or is gone")

    def _write(self, claim: Claim) -> Claim:
        written = replace(claim, version=next(self._versions))
        self.claims[claim.key.action_id] = written
        return written


class MemoryVault:
    """Grants and their wrappings, by accessor. ``away`` from dispatchers, not from runners."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.provisional: set[str] = set()
        self.wrapped: dict[str, str] = {}  # unused wrappings
        self.away = False
        self._numbers = itertools.count(1)

    def mint(self, key: RunKey, secrets: Collection[str], *, lifetime_s: int) -> WrappedGrant:
        return self._micro(self._mint)

    def _mint(self) -> WrappedGrant:
        number = next(self._numbers)
        grant = Grant(wrapping_accessor=f"w{number}", accessor=f"g{number}")
        self.alive.add(grant.accessor)
        self.provisional.add(grant.accessor)
        self.wrapped[grant.wrapping_accessor] = grant.accessor
        return WrappedGrant(grant=grant, token=grant.wrapping_accessor, creation_path="")

    def extend(self, grant: Grant, *, lifetime_s: int) -> None:
        def extend() -> None:
            if grant.accessor not in self.alive:
                raise Conflict("the grant ended before")
            self.provisional.discard(grant.accessor)

        self._micro(extend)

    def withdraw(self, grant: Grant) -> bool:
        self._micro(lambda: self.kill(grant.accessor))
        return self._micro(lambda: grant.wrapping_accessor in self.wrapped)

    def revoke(self, grant: Grant) -> None:
        self._micro(lambda: self.kill(grant.accessor))
        self._micro(lambda: self.wrapped.pop(grant.wrapping_accessor, None))

    def kill(self, accessor: str) -> None:
        self.alive.discard(accessor)
        self.provisional.discard(accessor)

    def _micro(self, do: Callable[[], T]) -> T:
        def ask() -> T:
            if self.away:
                raise Unavailable(Dependency.VAULT, "it is away")
            return do()

        return micro(Dependency.VAULT, ask)

    def unwrap(self, token: str) -> str | None:
        return self.wrapped.pop(token, None)


@dataclass
class Run:
    """A run as the engine has it: ``token`` until it was unwrapped, then what came out."""

    token: str
    unwrapped: bool = False
    accessor: str | None = None
    started: bool = False
    cancelled: bool = False
    outcome: Outcome | None = None


class MemoryEngine:
    """Runs by key; idempotent."""

    def __init__(self) -> None:
        self.runs: dict[RunKey, Run] = {}

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, job: str) -> str:
        def submit() -> str:
            self.runs.setdefault(spec.key, Run(token=grant.token))
            return spec.key.token

        return micro(Dependency.SCHEDULER, submit)

    def cancel(self, claim: Claim, *, reason: str) -> None:
        def cancel() -> None:
            run = self.runs.get(claim.key)
            if run is not None:
                run.cancelled = True

        micro(Dependency.SCHEDULER, cancel)

    def forget(self, claim: Claim) -> None:
        def forget() -> None:
            run = self.runs.pop(claim.key, None)
            assert run is None or run.outcome or not run.started, "forgotten while it ran"

        micro(Dependency.SCHEDULER, forget)

    def observe(self, claims: Collection[Claim]) -> dict[RunKey, Observation]:
        return micro(Dependency.SCHEDULER, self.seen)

    def seen(self) -> dict[RunKey, Observation]:
        return {
            key: Observation(
                state=RunState.ENDED if run.outcome else RunState.RUNNING,
                engine_id=key.token,
                engine=Engine(kind="local"),
                outcome=run.outcome,
            )
            for key, run in self.runs.items()
        }


class NoAudit:
    def append(self, event: str, **facts: object) -> None:
        pass


class Shelf:
    def by_ref(self, ref: FormulaRef) -> Formula:
        return FORMULA


@dataclass
class Parts:
    """What ``Effects`` uses of the real ones."""

    ledger: MemoryLedger
    grants: MemoryVault
    scheduler: MemoryEngine
    audit: NoAudit = field(default_factory=NoAudit)
    shelf: Shelf = field(default_factory=Shelf)
    settings: Settings = SETTINGS


# -- the dispatcher: what ``Tenure`` does, without threads and clocks ------------------------------


class Lead:
    """A lease that is taken away."""

    def __init__(self) -> None:
        self.is_held = True

    def held(self) -> bool:
        return self.is_held


class Dispatcher:
    """One process: its memory, and its steps under way."""

    def __init__(self, git: Git, parts: Parts) -> None:
        self._git, self._parts = git, parts
        self.lead = Lead()
        effects: Any = Effects(parts=parts, lease=self.lead)  # type: ignore[arg-type]
        self._effects: Effects = effects
        self._claims = dict(parts.ledger.claims)
        self._fresh: set[str] = set()  # claims that changed after the engine was asked
        self._doubtful = False
        self.actors: dict[str, tuple[Step, Actor]] = {}
        self.look()
        self.observe()

    def look(self) -> None:
        """Fetch."""
        self._actions, self._results = dict(self._git.actions), set(self._git.results)

    def observe(self) -> None:
        """Ask the engine."""
        self._seen, self._fresh = self._parts.scheduler.seen(), set()

    def read_claims(self) -> None:
        """Ask the ledger; what is under way is newer than the answer."""
        known = self._parts.ledger.claims
        for action_id in (self._claims.keys() | known.keys()) - self.actors.keys():
            if action_id not in known:
                self._claims.pop(action_id)
            elif self._claims.get(action_id) != known[action_id]:
                self._know(known[action_id])
        self._doubtful = False

    def begin(self, which: int) -> bool:
        """Begin one of the steps that reconcile decides on; False where there is none."""
        if self._doubtful:
            self.read_claims()
        steps = reconcile(self._world()).steps
        if not steps:
            return False
        step = steps[which % len(steps)]
        subject = step.candidate if isinstance(step, Launch) else step.claim  # type: ignore[union-attr]
        actor = Actor(lambda: self._act(step))
        self.actors[subject.key.action_id] = (step, actor)
        self._settle_up(subject.key.action_id)
        return True

    def go_on(self, action_id: str, fate: Fate) -> None:
        """The next micro-step of a step under way."""
        self.actors[action_id][1].go_on(fate)
        self._settle_up(action_id)

    def die(self) -> None:
        """The process is gone, and all it knew."""
        for _, actor in self.actors.values():
            while not actor.over:
                actor.go_on(None)
        self.actors.clear()

    def _settle_up(self, action_id: str) -> None:
        step, actor = self.actors[action_id]
        if not actor.over:
            return
        del self.actors[action_id]
        if actor.error is not None:
            if not isinstance(actor.error, LeadLost | Unavailable | Conflict):
                raise actor.error
            self._doubtful = True
        elif isinstance(step, Retire):
            self._claims.pop(action_id, None)
        elif isinstance(actor.answer, Claim):
            self._know(actor.answer)

    def _know(self, claim: Claim) -> None:
        self._claims[claim.key.action_id] = claim
        self._fresh.add(claim.key.action_id)

    def _act(self, step: Step) -> object:
        match step:
            case Launch(candidate=candidate):
                return self._effects.launch(vetted(candidate), commit="c", approved_by=())
            case Settle(claim=claim):
                blob = self._actions.get(claim.key.action_id)
                known = candidate_of(claim.key.action_id, blob) if blob else None
                return self._effects.settle(claim, vetted(known) if known else None)
            case Conclude(claim=claim, observation=seen):
                assert seen.outcome is not None
                return self._effects.conclude(claim, seen.outcome, seen.engine)
            case Revoke(claim=claim):
                return self._effects.revoke(claim)
            case Abandon(claim=claim):
                return self._effects.abandon(claim)
            case Retire(claim=claim):
                return self._effects.retire(claim)
            case Publish(claim=claim):
                return self._publish(claim)
        raise AssertionError(step)

    def _publish(self, claim: Claim) -> None:
        self._effects.led()
        action_id = claim.key.action_id
        micro(Dependency.REMOTE, lambda: self._git.results.setdefault(action_id, claim.result))

    def _world(self) -> World:
        return World(
            candidates={
                i: candidate_of(i, blob)
                for i, blob in self._actions.items()
                if i not in self._results
            },
            published=self._results,
            claims=self._claims,
            observations=self._seen,
            unsettled=self._fresh,
            busy=self.actors.keys(),
            limits=Limits(max_in_flight=2),
        )


def candidate_of(action_id: str, blob: str) -> Candidate:
    return Candidate(
        key=RunKey(action_id=action_id, blob=blob),
        order=0,
        action=Action(id=action_id, formula="hello", context="", secrets=()),
        formula=REF,
        tier=Tier.LOW,
        standing=Standing.APPROVED,
    )


def vetted(candidate: Candidate) -> Vetted:
    file = ActionFile(id=candidate.key.action_id, path="", blob=candidate.key.blob, mode=0o100644)
    return Vetted(candidate=candidate, file=file, formula=FORMULA)


# -- the model -------------------------------------------------------------------------------------

fates = st.sampled_from([Fate.DONE, Fate.DONE, Fate.DONE, Fate.NO_ANSWER, Fate.ANSWER_LOST])
picks = st.integers(0, 7)


class ExactlyOnce(RuleBasedStateMachine):
    """See the module."""

    @initialize()
    def begin(self) -> None:
        self.git = Git()
        self.parts = Parts(ledger=MemoryLedger(), grants=MemoryVault(), scheduler=MemoryEngine())
        self.leader = Dispatcher(self.git, self.parts)
        self.frozen: list[Dispatcher] = []
        self.starts: Counter[str] = Counter()
        self.lossy: set[str] = set()  # ids whose run was lost by the engine, or waited too long
        self.disturbed: set[str] = set()  # ids for which something did not go as it should
        self.by_hand: set[str] = set()
        self.froze = False

    # people

    @rule(action_ids=st.sets(st.sampled_from(IDS), min_size=1))
    def merge(self, action_ids: set[str]) -> None:
        for action_id in action_ids - self.git.results.keys():
            self.git.actions.setdefault(action_id, "1" * 40)

    @precondition(lambda self: self.git.actions)
    @rule(which=picks)
    def change(self, which: int) -> None:
        action_id = sorted(self.git.actions)[which % len(self.git.actions)]
        self.disturbed.add(action_id)
        self.git.actions[action_id] = "2" * 40

    @precondition(lambda self: self.git.actions.keys() - self.git.results.keys())
    @rule(which=picks)
    def write_a_result_by_hand(self, which: int) -> None:
        open_ids = sorted(self.git.actions.keys() - self.git.results.keys())
        action_id = open_ids[which % len(open_ids)]
        self.by_hand.add(action_id)
        self.git.results[action_id] = '{"verdict": "by hand"}'

    # the dispatcher

    @rule(fetch=st.booleans(), observe=st.booleans(), read=st.booleans())
    def look_around(self, *, fetch: bool, observe: bool, read: bool) -> None:
        if fetch:
            self.leader.look()
        if observe:
            self.leader.observe()
        if read:
            self.leader.read_claims()

    @rule(which=picks, steps=st.integers(0, 12), fate=fates, fresh=st.booleans())
    def step(self, which: int, steps: int, fate: Fate, *, fresh: bool) -> None:
        """Begin a step, and go on with it for some micro-steps; then one with another fate."""
        if fresh:
            self.leader.look()
            self.leader.observe()
        before = set(self.leader.actors)
        if self.leader.begin(which):
            for action_id in set(self.leader.actors) - before:
                self._go_on(self.leader, action_id, steps, fate)

    @rule(steps=st.integers(1, 8) | st.integers(1, 40), ends=st.booleans())
    def all_goes_well(self, steps: int, *, ends: bool) -> None:
        """So many micro-steps of an untroubled service; the last may be in the middle of a step."""
        for _ in range(steps):
            if not self.leader.actors:
                self.leader.look()
                self.leader.observe()
                for key, run in self.parts.scheduler.runs.items():
                    if ends or not run.started:
                        self._runner(key, run)
                if not self.leader.begin(0) and not self.parts.scheduler.runs:
                    return
            for action_id in sorted(self.leader.actors)[:1]:
                self.leader.go_on(action_id, Fate.DONE)

    @precondition(lambda self: self.leader.actors)
    @rule(which=picks, steps=st.integers(0, 12), fate=fates)
    def go_on(self, which: int, steps: int, fate: Fate) -> None:
        action_id = sorted(self.leader.actors)[which % len(self.leader.actors)]
        self._go_on(self.leader, action_id, steps, fate)

    def _go_on(self, one: Dispatcher, action_id: str, steps: int, fate: Fate) -> None:
        for left in range(steps, -1, -1):
            if action_id in one.actors:
                one.go_on(action_id, Fate.DONE if left else fate)
                if not left and fate is not Fate.DONE:
                    self.disturbed.add(action_id)

    @rule(which=picks, steps=st.integers(0, 9))
    def die_in_the_middle(self, which: int, steps: int) -> None:
        self.step(which=which, steps=steps, fate=Fate.DONE, fresh=True)
        self.crash()

    @rule()
    def crash(self) -> None:
        self.disturbed.update(self.leader.actors)
        self.leader.die()
        self.leader = Dispatcher(self.git, self.parts)

    @precondition(lambda self: self.leader.actors and len(self.frozen) < 2)
    @rule()
    def freeze(self) -> None:
        """The lead goes to another; this one does not know, and is in the middle of something."""
        self.froze = True
        self.disturbed.update(IDS)
        self.leader.lead.is_held = False
        self.frozen.append(self.leader)
        self.leader = Dispatcher(self.git, self.parts)

    @precondition(lambda self: self.frozen)
    @rule(which=picks, steps=st.integers(0, 4), fate=fates)
    def thaw(self, which: int, steps: int, fate: Fate) -> None:
        one = self.frozen[which % len(self.frozen)]
        if one.actors:
            self._go_on(one, sorted(one.actors)[which % len(one.actors)], steps, fate)
        else:
            self.frozen.remove(one)

    # engine, runners, clock

    @precondition(lambda self: self.parts.scheduler.runs)
    @rule(which=picks, steps=st.integers(1, 3))
    def runner(self, which: int, steps: int) -> None:
        """Micro-steps of one runner."""
        runs = self.parts.scheduler.runs
        key = sorted(runs, key=lambda k: k.token)[which % len(runs)]
        for _ in range(steps):
            self._runner(key, runs[key])

    def _runner(self, key: RunKey, run: Run) -> None:
        if run.outcome is not None:
            return
        if not run.unwrapped:
            run.unwrapped, run.accessor = True, self.parts.grants.unwrap(run.token)
        elif not run.started:
            if run.accessor is None or run.accessor not in self.parts.grants.alive:
                run.outcome = Outcome(verdict=Verdict.ERROR, exit_code=70, error="no grant")
            else:
                run.started = True
                self.starts[key.action_id] += 1
        elif run.cancelled:
            run.outcome = Outcome(verdict=Verdict.CANCELLED, exit_code=130)
        else:
            run.outcome = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True)

    @precondition(lambda self: self.parts.scheduler.runs)
    @rule(which=picks)
    def engine_loses(self, which: int) -> None:
        runs = self.parts.scheduler.runs
        key = sorted(runs, key=lambda k: k.token)[which % len(runs)]
        self.lossy.add(key.action_id)
        del runs[key]

    @rule()
    def vault_comes_or_goes(self) -> None:
        self.disturbed.update(IDS)
        self.parts.grants.away = not self.parts.grants.away

    @rule()
    def provisional_time_passes(self) -> None:
        for accessor in sorted(self.parts.grants.provisional):
            self.parts.grants.kill(accessor)

    @precondition(lambda self: self.parts.grants.wrapped)
    @rule()
    def wrappings_expire(self) -> None:
        self.lossy.update(self.parts.ledger.claims)
        self.lossy.update(i for d in (self.leader, *self.frozen) for i in d.actors)
        for accessor in list(self.parts.grants.wrapped):
            self.parts.grants.unwrap(accessor)

    # what must hold

    @invariant()
    def no_formula_starts_twice(self) -> None:
        assert not hasattr(self, "starts") or all(n <= 1 for n in self.starts.values()), self.starts

    def teardown(self) -> None:
        if not hasattr(self, "leader"):
            return
        self.parts.grants.away = False
        for one in self.frozen:
            for action_id in list(one.actors):
                while action_id in one.actors:
                    one.go_on(action_id, Fate.DONE)
        self._come_to_rest()
        self.no_formula_starts_twice()
        assert set(self.git.results) == set(self.git.actions), "each action has its result"
        assert not self.parts.ledger.claims, "no claim is left"
        self.provisional_time_passes()
        assert not self.parts.grants.alive, "no grant is left"
        for action_id, text in self.git.results.items():
            verdict = json.loads(text)["verdict"]
            if verdict == Verdict.SUCCEEDED:
                assert self.starts[action_id] == 1
            if verdict == Verdict.LOST:
                # Or the late dispatch of a leader that thawed used the wrapping of a dead grant.
                lost = action_id in self.lossy | self.by_hand or self.froze
                assert lost, "what nobody lost is not lost"
            if action_id not in self.lossy | self.disturbed | self.by_hand:
                assert verdict == Verdict.SUCCEEDED, "without any trouble it succeeds"
        assert self.froze or not self.parts.scheduler.runs, "the engine forgot all"

    def _come_to_rest(self) -> None:
        """Nothing goes wrong any more."""
        for _ in range(ROUNDS):
            for key, run in list(self.parts.scheduler.runs.items()):
                self._runner(key, run)
            self.leader.look()
            self.leader.read_claims()
            self.leader.observe()
            began = self.leader.begin(0)
            for action_id in list(self.leader.actors):
                while action_id in self.leader.actors:
                    self.leader.go_on(action_id, Fate.DONE)
            if not began and all(r.outcome for r in self.parts.scheduler.runs.values()):
                self.leader.look()
                self.leader.read_claims()
                self.leader.observe()
                if not self.leader.begin(0):
                    return
                for action_id in list(self.leader.actors):
                    while action_id in self.leader.actors:
                        self.leader.go_on(action_id, Fate.DONE)
        raise AssertionError("it does not come to rest")


TestExactlyOnce = ExactlyOnce.TestCase
TestExactlyOnce.settings = settings(
    max_examples=int(os.environ.get("DISINTO_MODEL_EXAMPLES", "300")),
    stateful_step_count=50,
    deadline=None,
)
