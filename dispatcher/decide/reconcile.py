"""Decides the steps to take from the state of git, ledger and engine. Pure.

This module must not do I/O, read a clock or keep state: all its input is the ``World`` it is passed,
so that every crash can be replayed as a value. It decides *what* is to be done; ``dispatcher.loop``
does it, and then calls it again.

The rules, in the order in which they apply to a run:

1. An invalid action file, and one that a gate finally refused, gets its result (``Reject``). So does
   one that expired, that a newer one of its lock supersedes, or that runs after one which did not
   succeed.
2. An approved one starts (``Launch``) when its time has come, no freeze is in force, what it runs
   after has succeeded, its lock is free and there is room: higher priority first, then in commit order.
3. A claim whose run the engine does not have is resolved with the vault (``ResolveOrphan``).
4. A claim whose run has ended gets its verdict and loses its grant (``Conclude``, ``Revoke``).
5. A claim with a verdict gets its result into git (``Publish``), also in the place of a file there
   that is not ours.
6. A claim whose result is in git, and whose grant is revoked, is released (``Retire``).
7. A tombstone whose action is there again, or whose result says what exists, gets its genuine result
   back (``Restore``).
8. A run under way whose result, signed by us, is in git already is stopped (``StopSuperseded``).
9. What a request in the ops repo cancels, as approved as the action has to be, is stopped, or never
   starts (``Cancel``).

A file in the place of a result proves nothing about a claim before it is inspected (``Inspect``):
anybody with push rights can add one.

What cannot be done now becomes a ``Wait`` with its reason; nothing is dropped silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain

from dispatcher.decide.lock_queue import LockQueue, orphan_waits, precedence, superseded
from dispatcher.decide.predecessors import Predecessors
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
    needs,
)
from dispatcher.decide.times import held_back, next_time, overdue
from dispatcher.decide.world import Candidate, GateState, Provenance, Requested, World
from dispatcher.errors import Dependency, describe
from dispatcher.model.health import WaitingFor
from dispatcher.model.inventory import says_inventory
from dispatcher.model.run import Claim, Phase, RunKey, RunState
from dispatcher.model.verdicts import Verdict

USED = (
    "this id is used: its result is gone, or it is unknown whether it ran, and an id runs once; "
    "check what it did, then choose a new id"
)
"""Why a file is rejected whose id has a tombstone, or is in ``vault/done`` without a result."""

ARCHIVED = "this id has its result in vault/done, and an id runs once: remove this file, or choose a new id"
"""Why a file keeps waiting whose id has a result elsewhere; a second one would contradict it."""


def reconcile(world: World) -> Plan:
    """Decide every step that can be taken now, and list what waits."""
    steps: list[Step] = []
    waits: list[Wait] = []
    down = frozenset(world.down)
    for item in chain(_of_claims(world), _of_candidates(world)):
        if isinstance(item, Wait):
            waits.append(item)
        elif missing := needs(item) & down:
            waits.append(_wait_for(item, missing, world.outages))
        else:
            steps.append(item)
    return Plan(steps=tuple(steps), waits=tuple(waits), next_at=next_time(world))


def _wait_for(
    step: Step, missing: frozenset[Dependency], outages: Mapping[Dependency, str]
) -> Wait:
    """The wait for dependencies, with their own errors: a dependency may be up and deny permission."""
    reasons = (outages.get(name) or f"{name} has not answered yet" for name in sorted(missing))
    return Wait(
        action_id=step.action_id,
        waiting_for=WaitingFor.DEPENDENCY,
        reason="; ".join(reasons),
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
    return wait_for_retry(action_id, world.paused[action_id])


def wait_for_retry(action_id: str, error: str | Exception) -> Wait:
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
    """The step of a claim that has its verdict, or is a tombstone."""
    if claim.phase is Phase.TOMBSTONE and not published:
        return Restore(claim=claim) if _restorable(world, claim) else None
    if not published:
        return Publish(claim=claim)
    return Retire(claim=claim) if claim.revoked or claim.grant is None else Revoke(claim=claim)


def _restorable(world: World, claim: Claim) -> bool:
    """Whether a tombstone holds a result that is to be in git again: its action is open without one, or
    it says what exists, which must not be forgotten with its action.
    """
    if not claim.result or claim.key.action_id in world.published:
        return False
    candidate = world.candidates.get(claim.key.action_id)
    same = candidate is not None and candidate.key == claim.key
    return same or says_inventory(claim.result)


def _ended(world: World, claim: Claim) -> bool:
    observation = (world.observations or {}).get(claim.key)
    return observation is not None and observation.state is RunState.ENDED


def _of_run(world: World, claim: Claim) -> Step | Wait | None:
    """The step of a claim without a verdict, from the observation of its run."""
    if world.observations is None:
        return Wait(
            action_id=claim.key.action_id,
            waiting_for=WaitingFor.DEPENDENCY,
            reason="submitting" if claim.phase is Phase.CLAIMED else "checking with the engine",
        )
    observation = world.observations.get(claim.key)
    if observation is None:
        if claim.key.action_id in world.unsettled:
            return None
        return orphan_waits(world, claim) or _orphan(world, claim)
    if observation.state is RunState.ENDED and observation.outcome is not None:
        return Conclude(claim=claim, observation=observation)
    request = _request(world, claim.key)
    if request and request.gate_state is GateState.APPROVED and not claim.stopped:
        return Cancel(key=claim.key, claim=claim, by=request.by, commit=world.commit)
    return Wait(
        action_id=claim.key.action_id,
        waiting_for=WaitingFor.ENGINE,
        reason=observation.reason
        or ("" if observation.state is RunState.RUNNING else "waiting for placement"),
        run=observation.state,
    )


def _orphan(world: World, claim: Claim) -> ResolveOrphan:
    candidate = world.candidates.get(claim.key.action_id)
    unchanged = candidate is not None and candidate.key == claim.key
    return ResolveOrphan(claim=claim, candidate=candidate if unchanged else None)


def _request(world: World, key: RunKey) -> Requested | None:
    """The request to cancel exactly this action, if there is one."""
    request = world.cancels.get(key.action_id)
    return request if request and request.blob == key.blob else None


def _of_candidates(world: World) -> Iterator[Step | Wait]:
    predecessors = Predecessors(world)
    decided: list[tuple[Candidate, Step | Wait | None]] = []
    for action_id, candidate in world.candidates.items():
        claim = world.claims.get(action_id)
        used = claim is not None and claim.phase is Phase.TOMBSTONE
        if action_id in world.busy or (claim is not None and not used):
            continue
        if claim is not None and (action_id in world.published or _restorable(world, claim)):
            provenance = world.provenance.get(action_id)
            if action_id in world.published and provenance is Provenance.FOREIGN:
                yield _wait(candidate, WaitingFor.REFUSAL, ARCHIVED)
            continue  # its claim comes first
        if action_id in world.paused:
            if claim is None:  # else it is reported with its claim
                yield _pause(world, action_id)
            continue
        if action_id in world.published:
            yield _wait(candidate, WaitingFor.REFUSAL, ARCHIVED)
            continue
        item = _of_open(world, candidate, predecessors, used=used)
        decided.append((candidate, item))
    yield from _in_turn(world, decided)


def _of_open(
    world: World, candidate: Candidate, predecessors: Predecessors, *, used: bool
) -> Step | Wait | None:
    """What an action asks for by itself; None if it may start as soon as it is its turn."""
    if used or candidate.key.action_id in world.archived:
        problem = USED
    else:
        problem = candidate.problem or predecessors.problem(candidate)
    return (
        _of_request(world, candidate, problem)
        or (None if problem else overdue(world, candidate))
        or (None if problem else predecessors.refusal(candidate))
        or _of_candidate(candidate, problem=problem, commit=world.commit)
        or held_back(candidate, world.now)
        or predecessors.wait(candidate)
    )


def _in_turn(
    world: World, decided: list[tuple[Candidate, Step | Wait | None]]
) -> Iterator[Step | Wait]:
    """Those that may start, each when it is its turn; older ones of a lock give way first."""
    ready = [candidate for candidate, item in decided if item is None]
    given_way = superseded(
        world, ready, [c for c, i in decided if not isinstance(i, Reject | Cancel)]
    )
    launchable: list[Candidate] = []
    for candidate, item in decided:
        rejection = given_way.get(candidate.key.action_id)
        if rejection is not None:
            yield rejection
        elif item is None:
            launchable.append(candidate)
        else:
            yield item
    yield from _with_room(world, launchable)


def _of_request(world: World, candidate: Candidate, problem: str) -> Step | Wait | None:
    """The effect of a request to cancel on an action that has not started."""
    request = None if problem else _request(world, candidate.key)
    if request is None:
        return None
    if request.gate_state is GateState.APPROVED:
        return Cancel(key=candidate.key, claim=None, by=request.by, commit=world.commit)
    if request.gate_state is GateState.UNASKED and candidate.gate_state is GateState.APPROVED:
        return _wait(candidate, WaitingFor.TURN, "reading a request to cancel it")
    return None


def _of_candidate(candidate: Candidate, *, problem: str, commit: str) -> Step | Wait | None:
    """The step that its file and its gate require; None if it may start once there is room."""
    if problem:
        return Reject(candidate=candidate, verdict=Verdict.INVALID, reason=problem, commit=commit)
    match candidate.gate_state:
        case _ if candidate.unvetted:
            return _wait(candidate, WaitingFor.DEPENDENCY, candidate.unvetted)
        case GateState.UNASKED:
            return Ask(candidate=candidate)
        case GateState.APPROVED:
            return None
        case GateState.REFUSED:
            return Reject(
                candidate=candidate,
                verdict=Verdict.REFUSED,
                reason=candidate.reason,
                commit=commit,
            )
        case GateState.HELD | GateState.WAITING as gate_state:
            held = gate_state is GateState.HELD
            waiting_for = WaitingFor.REFUSAL if held else WaitingFor.APPROVAL
            return _wait(candidate, waiting_for, candidate.reason)


def _wait(candidate: Candidate, waiting_for: WaitingFor, reason: str) -> Wait:
    return Wait(action_id=candidate.key.action_id, waiting_for=waiting_for, reason=reason)


def _with_room(world: World, launchable: list[Candidate]) -> Iterator[Step | Wait]:
    """Fill the free places: higher priority first, then in commit order."""
    if not launchable:
        return
    running = [c for c in world.claims.values() if c.in_flight]
    starting = [world.candidates[i] for i in world.busy if _starts(world, i)]
    formulas = Counter(c.formula.name for c in running if c.formula)
    formulas.update(c.formula.ref.name for c in starting if c.formula)
    free = world.limits.max_in_flight - len(running) - len(starting)
    full = f"{world.limits.max_in_flight} runs in flight, the maximum ([limits] max_in_flight)"
    locks = LockQueue(world)
    for candidate in sorted(launchable, key=precedence):
        if locked := locks.enter(candidate):
            yield locked
            continue
        if free <= 0:
            yield _wait(candidate, WaitingFor.PLACE, full)
            continue
        name = candidate.formula.ref.name if candidate.formula else ""
        limit = world.limits.formulas.get(name)
        if limit is not None and formulas[name] >= limit:
            at_limit = (
                f"{limit} of formula {name} in flight, the maximum ([limits.formulas] {name})"
            )
            yield _wait(candidate, WaitingFor.PLACE, at_limit)
        else:
            free -= 1
            formulas[name] += 1
            yield Launch(
                candidate=candidate,
                commit=world.commit,
                revision=world.revision,
            )


def _starts(world: World, action_id: str) -> bool:
    """A candidate on its way to a claim: busy with a launch, and not yet in the ledger."""
    candidate = world.candidates.get(action_id)
    return (
        candidate is not None
        and candidate.gate_state is GateState.APPROVED
        and action_id not in world.claims
    )
