"""Reconcile: the state of git, ledger and engine in, the steps to take out. Pure.

This module must not do I/O, look at a clock or keep state: everything it knows is in the
``World`` it is given, so that every crash can be replayed as a value. It decides *what* is to be
done; ``dispatcher.loop`` does it, and asks again afterwards.

The rules, in the order in which a run meets them:

1. An action file that is wrong, or that a gate refused for good, gets its result (``Reject``).
2. An approved one starts (``Launch``) when there is room, higher priority first, then in commit
   order.
3. A claim whose run the engine does not know is settled by the vault (``ResolveOrphan``).
4. A claim whose run has ended gets its verdict and loses its grant (``Conclude``, ``Revoke``).
5. A claim with a verdict gets its result into git (``Publish``), also in the place of a file there
   that is not ours.
6. A claim whose result is in git, and whose grant is dead, is let go (``Retire``).
7. A tombstone whose action is there again gets its genuine result back (``Restore``).
8. A run under way whose result, signed by us, is in git already is stopped (``StopSuperseded``).
9. What a request in the ops repo cancels, as approved as the action has to be, is stopped, or never
   starts (``Cancel``).

A file in the place of a result says nothing about a claim before it was looked at (``Inspect``):
whoever may push can put one there.

What cannot be done now is a ``Wait`` with its reason; nothing is dropped silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain

from dispatcher.errors import Dependency, describe
from dispatcher.model.action import Action
from dispatcher.model.health import WaitingFor
from dispatcher.model.run import (
    Claim,
    FormulaRef,
    Observation,
    Phase,
    RunKey,
    RunState,
    Tier,
    Verdict,
)


class Provenance(StrEnum):
    """Who wrote the file that stands in git as the result of a claim."""

    OURS = "ours"  # signed by us for this action, or byte for byte what the ledger holds
    FOREIGN = "foreign"


class GateState(StrEnum):
    """What the gate has said of a candidate so far."""

    UNASKED = "unasked"
    WAITING = "waiting"
    APPROVED = "approved"
    HELD = "held"  # refused, and not for good: a change can still mend it
    REFUSED = "refused"  # for good


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """An action file of the branch's head that has no result.

    Attributes:
        key: id and blob.
        order: position in commit order; smaller came first.
        action: None where the file does not parse.
        problem: why this file can never run, in words; "" where it can. Final.
        unvetted: why it cannot be judged yet (a dependency is down), else "".
        formula, tier: what would run, and under which tier; None while unknown.
        standing, reason: the gate's answer, and why.
        approved_by: who approved.
        since: when it came to the branch, or was first seen there; seconds since the epoch, 0.0
            where that is not known. Nothing is decided by it.
    """

    key: RunKey
    order: int
    action: Action | None = None
    problem: str = ""
    unvetted: str = ""
    formula: FormulaRef | None = None
    tier: Tier | None = None
    gate_state: GateState = GateState.UNASKED
    reason: str = ""
    approved_by: tuple[str, ...] = ()
    since: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Requested:
    """A request in the ops repo to cancel an action.

    Attributes:
        blob: the content of the action (hex) that it is about.
        standing: approved ones alone count. One that nobody has looked at yet keeps its action from
            starting for that moment; any other holds up nothing.
        by: who asked, in words, for result and record.
    """

    blob: str
    gate_state: GateState = GateState.UNASKED
    by: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much may run at a time: in all, and for a formula by its name."""

    max_in_flight: int
    formulas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """All that is known at one moment.

    Attributes:
        candidates: open action files, by id.
        published: ids that have a result in the tree, archived ones included; whoever wrote it.
        provenance: who wrote it, by id, where that was looked at; asked only of ids with a claim.
        cancels: requests to cancel, by id; only those that may be about what is there.
        archived: ids with a file in the archive; spent, also where their result is not there.
        claims: the ledger's open claims, by id.
        observations: what the engine said, or None while it has not been asked.
        unsettled: ids whose claim changed after the engine was last asked: the observation is
            too old to conclude an absence from.
        busy: ids with a step under way; left alone until it is done.
        paused: ids whose last step failed, and why; left alone until it is tried again.
        down: dependencies that must not be asked now (back-off).
        outages: what those that are down said last, in words.
        limits: see ``Limits``.
    """

    candidates: Mapping[str, Candidate]
    published: Container[str]
    claims: Mapping[str, Claim]
    observations: Mapping[RunKey, Observation] | None
    limits: Limits
    provenance: Mapping[str, Provenance] = field(default_factory=dict)
    cancels: Mapping[str, Requested] = field(default_factory=dict)
    archived: Container[str] = frozenset()
    unsettled: Collection[str] = frozenset()
    busy: Collection[str] = frozenset()
    paused: Mapping[str, str] = field(default_factory=dict)
    down: Collection[Dependency] = frozenset()
    outages: Mapping[Dependency, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """Ask the gate about a candidate."""

    candidate: Candidate


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """Write the result of a candidate that never runs."""

    candidate: Candidate
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """Mint, claim and submit."""

    candidate: Candidate


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolveOrphan:
    """Ask the vault whether a claimed run that the engine does not know may have started."""

    claim: Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Conclude:
    """Revoke the grant of an ended run and record its verdict."""

    claim: Claim
    observation: Observation


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoke:
    """Revoke a grant whose run was recorded while the vault was down."""

    claim: Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Publish:
    """Bring a recorded verdict to git."""

    claim: Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspect:
    """Find out whether the file that stands in git as this claim's result is ours."""

    claim: Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Restore:
    """Turn a tombstone into a verdict: its action is there again, and the text that it keeps is
    proven to be ours. One that is not loses its text.
    """

    claim: Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancel:
    """Stop a run, or take the one claim of an action that waits with the verdict in it.

    Attributes:
        key: the action, or the run.
        claim: of the run that is to be stopped; None for an action that has not started.
        by: who asked, in words.
    """

    key: RunKey
    claim: Claim | None
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StopSuperseded:
    """Stop a run whose result stands in git already, signed by us, and let its grant die: a result
    ends a run for ever. How it ended is recorded when the engine has said so, as of any other.
    """

    claim: Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Retire:
    """Release the claim and let the engine forget the run."""

    claim: Claim


Step = (
    Ask
    | Reject
    | Launch
    | ResolveOrphan
    | Conclude
    | Revoke
    | Publish
    | Inspect
    | Restore
    | Cancel
    | StopSuperseded
    | Retire
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """An action that stands still, and why."""

    action_id: str
    waiting_for: WaitingFor
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Steps to carry out now, in order, and what waits. Each id stands in one of them at most."""

    steps: tuple[Step, ...]
    waits: tuple[Wait, ...]


SPENT = (
    "this id is used: its result is gone, or nobody can tell whether it ran, and an id runs once; "
    "look at what it did, then choose a new id"
)
"""Why a file is rejected whose id has a tombstone, or stands in ``vault/done`` without a result."""

ARCHIVED = "this id has its result in vault/done, and an id runs once: remove this file, or choose a new id"
"""Why a file goes on waiting whose id has a result elsewhere; a second one would contradict it."""

NEEDS: Mapping[type, frozenset[Dependency]] = {
    Ask: frozenset(),  # see ``needs``
    Reject: frozenset({Dependency.REMOTE, Dependency.LEAD}),
    Launch: frozenset({Dependency.VAULT, Dependency.SCHEDULER, Dependency.LEDGER, Dependency.LEAD}),
    ResolveOrphan: frozenset(  # it may submit again
        {Dependency.VAULT, Dependency.SCHEDULER, Dependency.LEDGER, Dependency.LEAD}
    ),
    Conclude: frozenset({Dependency.LEDGER}),
    Revoke: frozenset({Dependency.VAULT, Dependency.LEDGER}),
    Publish: frozenset({Dependency.REMOTE}),
    Inspect: frozenset(),
    Restore: frozenset({Dependency.LEDGER}),
    Cancel: frozenset({Dependency.LEDGER}),  # see ``needs``
    StopSuperseded: frozenset({Dependency.SCHEDULER, Dependency.LEDGER}),  # see ``needs``
    Retire: frozenset({Dependency.SCHEDULER, Dependency.LEDGER}),
}
"""What must be up for a step of a kind to be worth trying."""


def needs(step: Step) -> frozenset[Dependency]:
    """What must be up for this step to be worth trying. The forge is asked about everything that
    needs an approval: an action of tier medium or high, and a formula of the ops repo; and once more
    when it starts. A run is stopped without the vault; what is then left of ``StopSuperseded`` is the
    vault's.
    """
    if isinstance(step, Ask | Launch):
        formula = step.candidate.formula
        by_people = step.candidate.tier is not Tier.LOW or (formula and formula.commit)
        return NEEDS[type(step)] | ({Dependency.FORGE} if by_people else frozenset())
    if isinstance(step, Cancel):
        other = Dependency.SCHEDULER if step.claim else Dependency.LEAD
        return NEEDS[Cancel] | {other}
    if isinstance(step, StopSuperseded) and step.claim.stopped:
        return NEEDS[StopSuperseded] | {Dependency.VAULT}
    return NEEDS[type(step)]


def reconcile(world: World) -> Plan:
    """Decide every step that can be taken now, and name what waits."""
    steps: list[Step] = []
    waits: list[Wait] = []
    down = frozenset(world.down)
    for item in chain(_of_claims(world), _of_candidates(world)):
        if isinstance(item, Wait):
            waits.append(item)
        elif missing := needs(item) & down:
            waits.append(_held_up(item, missing, world.outages))
        else:
            steps.append(item)
    return Plan(steps=tuple(steps), waits=tuple(waits))


def key_of(step: Step) -> RunKey:
    """The action that a step is about."""
    match step:
        case Ask() | Reject() | Launch():
            return step.candidate.key
        case Cancel():
            return step.key
        case _:
            return step.claim.key


def _held_up(step: Step, missing: frozenset[Dependency], outages: Mapping[Dependency, str]) -> Wait:
    """In the dependency's own words: one that refuses us can be reached all the same."""
    said = (outages.get(name) or f"{name} has not answered yet" for name in sorted(missing))
    return Wait(
        action_id=key_of(step).action_id,
        waiting_for=WaitingFor.DEPENDENCY,
        reason="; ".join(said),
    )


def _of_claims(world: World) -> Iterator[Step | Wait]:
    for action_id, claim in world.claims.items():
        if action_id in world.busy:
            continue
        if action_id in world.paused:
            yield _pause(world, action_id)
        elif (step := _of_claim(world, claim)) is not None:
            yield step


def _pause(world: World, action_id: str) -> Wait:
    return tried_again(action_id, world.paused[action_id])


def tried_again(action_id: str, error: str | Exception) -> Wait:
    """The wait of an action whose last step failed, for the reason given."""
    error = describe(error) if isinstance(error, Exception) else error
    reason = f"a step failed and will be retried: {error}"
    return Wait(action_id=action_id, waiting_for=WaitingFor.DEPENDENCY, reason=reason)


def _of_claim(world: World, claim: Claim) -> Step | Wait | None:
    action_id = claim.key.action_id
    in_git = action_id in world.published
    provenance = world.provenance.get(action_id) if in_git else None
    if in_git and provenance is None:
        return Inspect(claim=claim)
    published = provenance is Provenance.OURS
    if claim.phase in (Phase.TOMBSTONE, Phase.ENDED):
        return _of_verdict(world, claim, published=published)
    if published and not claim.revoked and not _ended(world, claim):
        return StopSuperseded(claim=claim)
    return _of_run(world, claim)


def _of_verdict(world: World, claim: Claim, *, published: bool) -> Step | None:
    """A claim that waits for nothing but git."""
    if claim.phase is Phase.TOMBSTONE and not published:
        return Restore(claim=claim) if _restorable(world, claim) else None
    if not published:
        return Publish(claim=claim)
    return Retire(claim=claim) if claim.revoked or claim.grant is None else Revoke(claim=claim)


def _restorable(world: World, claim: Claim) -> bool:
    """Whether a tombstone keeps a result, and the action it belongs to is there without any."""
    candidate = world.candidates.get(claim.key.action_id)
    in_git = claim.key.action_id in world.published
    return (
        bool(claim.result) and not in_git and candidate is not None and candidate.key == claim.key
    )


def _ended(world: World, claim: Claim) -> bool:
    seen = (world.observations or {}).get(claim.key)
    return seen is not None and seen.state is RunState.ENDED


def _of_run(world: World, claim: Claim) -> Step | Wait | None:
    """A claim that has no verdict yet: what does its engine say?"""
    if world.observations is None:
        return Wait(
            action_id=claim.key.action_id,
            waiting_for=WaitingFor.DEPENDENCY,
            reason="submitting" if claim.phase is Phase.CLAIMED else "checking with the engine",
        )
    seen = world.observations.get(claim.key)
    if seen is None:
        return None if claim.key.action_id in world.unsettled else ResolveOrphan(claim=claim)
    if seen.state is RunState.ENDED and seen.outcome is not None:
        return Conclude(claim=claim, observation=seen)
    request = _request(world, claim.key)
    if request and request.gate_state is GateState.APPROVED and not claim.stopped:
        return Cancel(key=claim.key, claim=claim, by=request.by)
    usual = "running" if seen.state is RunState.RUNNING else "waits for a place"
    reason = seen.reason or usual
    return Wait(action_id=claim.key.action_id, waiting_for=WaitingFor.ENGINE, reason=reason)


def _request(world: World, key: RunKey) -> Requested | None:
    """The request to cancel exactly this action, if there is one."""
    request = world.cancels.get(key.action_id)
    return request if request and request.blob == key.blob else None


def _of_candidates(world: World) -> Iterator[Step | Wait]:
    launchable: list[Candidate] = []
    for action_id, candidate in world.candidates.items():
        claim = world.claims.get(action_id)
        spent = claim is not None and claim.phase is Phase.TOMBSTONE
        if action_id in world.busy or (claim is not None and not spent):
            continue
        if claim is not None and (action_id in world.published or _restorable(world, claim)):
            continue  # its claim comes first
        if action_id in world.paused:
            if claim is None:  # else it is told with its claim
                yield _pause(world, action_id)
            continue
        if action_id in world.published:
            yield _stands_still(candidate, WaitingFor.REFUSAL, ARCHIVED)
            continue
        spent = spent or action_id in world.archived
        problem = SPENT if spent else candidate.problem
        step = _of_request(world, candidate, problem) or _of_candidate(candidate, problem=problem)
        if step is None:
            launchable.append(candidate)
        else:
            yield step
    yield from _with_room(world, launchable)


def _of_request(world: World, candidate: Candidate, problem: str) -> Step | Wait | None:
    """What a request to cancel it means for an action that could run at some time."""
    request = None if problem else _request(world, candidate.key)
    if request is None:
        return None
    if request.gate_state is GateState.APPROVED:
        return Cancel(key=candidate.key, claim=None, by=request.by)
    if request.gate_state is GateState.UNASKED and candidate.gate_state is GateState.APPROVED:
        return _stands_still(candidate, WaitingFor.TURN, "a request to cancel it is being read")
    return None


def _of_candidate(candidate: Candidate, *, problem: str) -> Step | Wait | None:
    """What its file and its gate ask for; None where it may start as soon as there is room."""
    if problem:
        return Reject(candidate=candidate, verdict=Verdict.INVALID, reason=problem)
    match candidate.gate_state:
        case _ if candidate.unvetted:
            return _stands_still(candidate, WaitingFor.DEPENDENCY, candidate.unvetted)
        case GateState.UNASKED:
            return Ask(candidate=candidate)
        case GateState.APPROVED:
            return None
        case GateState.REFUSED:
            return Reject(candidate=candidate, verdict=Verdict.REFUSED, reason=candidate.reason)
        case GateState.HELD | GateState.WAITING as gate_state:
            held = gate_state is GateState.HELD
            waiting_for = WaitingFor.REFUSAL if held else WaitingFor.APPROVAL
            return _stands_still(candidate, waiting_for, candidate.reason)


def _stands_still(candidate: Candidate, waiting_for: WaitingFor, reason: str) -> Wait:
    return Wait(action_id=candidate.key.action_id, waiting_for=waiting_for, reason=reason)


def _with_room(world: World, launchable: list[Candidate]) -> Iterator[Step | Wait]:
    """Fill the free places: higher priority first, then in commit order."""
    running = [c for c in world.claims.values() if _takes_room(c)]
    starting = [world.candidates[i] for i in world.busy if _starts(world, i)]
    formulas = Counter(c.formula.name for c in running if c.formula)
    formulas.update(c.formula.name for c in starting if c.formula)
    free = world.limits.max_in_flight - len(running) - len(starting)
    full = f"{world.limits.max_in_flight} runs in flight, the maximum ([limits] max_in_flight)"
    for candidate in sorted(launchable, key=_precedence):
        if free <= 0:
            yield _stands_still(candidate, WaitingFor.PLACE, full)
            continue
        name = candidate.formula.name if candidate.formula else ""
        limit = world.limits.formulas.get(name)
        if limit is not None and formulas[name] >= limit:
            at_limit = (
                f"{limit} of formula {name} in flight, the maximum ([limits.formulas] {name})"
            )
            yield _stands_still(candidate, WaitingFor.PLACE, at_limit)
        else:
            free -= 1
            formulas[name] += 1
            yield Launch(candidate=candidate)


def _takes_room(claim: Claim) -> bool:
    return claim.phase in (Phase.CLAIMED, Phase.SUBMITTED)


def _starts(world: World, action_id: str) -> bool:
    """A candidate on its way to a claim: busy with a launch, and not yet in the ledger."""
    candidate = world.candidates.get(action_id)
    return (
        candidate is not None
        and candidate.gate_state is GateState.APPROVED
        and action_id not in world.claims
    )


def _precedence(candidate: Candidate) -> tuple[int, int, str]:
    priority = candidate.action.priority if candidate.action else 0
    return (-priority, candidate.order, candidate.key.action_id)
