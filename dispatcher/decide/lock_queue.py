"""Locks: which run holds one, who is next, and who gives way to a newer one. Pure.

The holder is a claim in flight, or a launch under way; there is nothing else to unlock. What waits
is in commit order among equal priorities: one that is ready lets those go first that came before it
and are still being read or judged, unless that failed or has to wait. If the order is unknown of two
actions of which one supersedes the other, both are left alone: an older one must never run after a
newer one that took its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from dispatcher.decide.steps import Ask, Reject, Wait, needs
from dispatcher.decide.world import Candidate, GateState, World
from dispatcher.errors import Dependency
from dispatcher.model.health import LockPlace, WaitingFor
from dispatcher.model.run import Claim, Phase, Tier
from dispatcher.model.verdicts import Verdict

UNSURE = "lock {lock}: reading the ledger again to see who holds it"
UNORDERED = (
    "lock {lock}: nobody can tell whether this action or {other} is the newer, because both came long "
    "ago; cancel one of them"
)


class LockQueue:
    """Who waits for which lock. Candidates enter in the order in which they are to start."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._holders: dict[str, str] = {}
        self._waiting: defaultdict[str, list[str]] = defaultdict(list)
        holding = [c for c in world.claims.values() if c.lock and c.in_flight]
        for claim in sorted(holding, key=_claimed, reverse=True):
            self._holders[claim.lock] = claim.key.action_id
        for action_id, lock in world.starting.items():
            if lock:
                self._holders.setdefault(lock, action_id)
        self._older = (
            _unstarted(world) if any(_supersedes(c) for c in world.candidates.values()) else {}
        )
        self._oldest = _oldest(self._older)
        self._unjudged = _unjudged(world)
        unread = [(order, i) for i, order in world.unread.items() if i not in world.claims]
        self._oldest_unread = min(unread, default=None)
        self._oldest_readable = min((u for u in unread if u[1] not in world.paused), default=None)

    def enter(self, candidate: Candidate) -> Wait | None:
        """Give an action its lock, or say why it waits for it; None for one that may start."""
        lock = candidate.lock
        if not lock:
            return None
        ahead, action_id = self._waiting[lock], candidate.key.action_id
        held = self._held(lock, ahead)
        older, soon = ("", True) if held else self._older_first(candidate)
        place = LockPlace(
            name=lock,
            holder=self._holders.get(lock, ""),
            first=ahead[0] if ahead else "",
            ahead=len(ahead),
        )
        if soon:  # one that may have to wait for a person must not keep others from the lock
            ahead.append(action_id)
        reason = held or older
        if not reason:
            return None
        return Wait(action_id=action_id, waiting_for=WaitingFor.LOCK, reason=reason, lock=place)

    def _held(self, lock: str, ahead: Sequence[str]) -> str:
        if self._world.claims_in_doubt:
            return UNSURE.format(lock=lock)
        holder = self._holders.get(lock)
        if holder is None and not ahead:
            return ""
        held = f"lock {lock} is held by {holder}" if holder else f"lock {lock}: {ahead[0]} is next"
        skipped = 0 if holder else 1
        before = len(ahead) - skipped
        if not before:
            return f"{held}; this action is next" if holder else held
        more = f" and {before - 1} more are" if before > 1 else " is"
        return f"{held}; {ahead[skipped]}{more} before this action"

    def _older_first(self, candidate: Candidate) -> tuple[str, bool]:
        """Why one that supersedes others must not start yet: an older one would run after it. And
        whether that is over soon, without anybody's doing.
        """
        if not _supersedes(candidate):
            return self._unjudged_first(candidate), True
        lock = candidate.lock
        if above := _kept_back_by(candidate, self._oldest):
            return f"lock {lock}: {_outranked(above, candidate)}", False
        for other in self._older.get(lock, ()):
            older = precedes(other, candidate)
            name = other.key.action_id
            if older is None:
                return UNORDERED.format(lock=lock, other=name), False
            if older and _outranks(other, candidate):
                return f"lock {lock}: {_outranked(other, candidate)}", False
            if older:
                return f"lock {lock}: {name}, which is older, has no result yet", True
        return _unread_first(candidate, self._oldest_unread), True

    def _unjudged_first(self, candidate: Candidate) -> str:
        """One whose turn comes before may be approved in a moment."""
        for other in self._unjudged.get(candidate.lock, ()):
            if precedence(other) < precedence(candidate):
                name = other.key.action_id
                return f"lock {candidate.lock}: {name}, which comes first, is being judged"
        return _unread_first(candidate, self._oldest_readable)


def superseded(
    world: World, ready: Iterable[Candidate], waiting: Iterable[Candidate]
) -> dict[str, Reject]:
    """Actions that give way to a newer one, by id.

    A newer one counts when nothing but its lock and its turn keeps it from starting, nor an older
    one that it cannot supersede: nothing gives way to one that may never run. And it counts only
    over actions of its own tier or a lower one, so that an action without an approval does not drop
    an approved one.

    Args:
        ready: those that may start.
        waiting: those that have not started.
    """
    superseding = [c for c in ready if _supersedes(c) and c.order_known]
    oldest = _oldest(_unstarted(world)) if superseding else {}
    newest: dict[tuple[str, Tier], Candidate] = {}
    for candidate in superseding:
        if candidate.tier is None or _kept_back_by(candidate, oldest):
            continue
        place = (candidate.lock, candidate.tier)
        if place not in newest or precedes(newest[place], candidate):
            newest[place] = candidate
    found: dict[str, Reject] = {}
    for candidate in waiting if newest else ():
        newer = _newer(candidate, newest)
        if newer is not None:
            found[candidate.key.action_id] = Reject(
                candidate=candidate,
                verdict=Verdict.SUPERSEDED,
                reason=f"{newer.key.action_id}, a newer action of the lock {newer.lock}, took its "
                "place before it started",
                commit=world.commit,
            )
    return found


def precedence(candidate: Candidate) -> tuple[int, int, str]:
    """What sorts candidates by whose turn it is: higher priority first, then in commit order."""
    priority = candidate.action.priority if candidate.action else 0
    return (-priority, candidate.order, candidate.key.action_id)


def precedes(one: Candidate, other: Candidate) -> bool | None:
    """Whether one came to the branch before another; None if that is unknown."""
    if one.key == other.key:
        return False
    if not one.order_known and not other.order_known:
        return None
    return (one.order_known, one.order) < (other.order_known, other.order)


def orphan_waits(world: World, claim: Claim) -> Wait | None:
    """Whether a claim that its engine does not know must not be submitted again yet, because
    another run of its lock may be going on. Of several such claims the first made goes first.
    """
    if not claim.lock:
        return None
    for other in world.claims.values():
        if other.lock != claim.lock or not other.in_flight or other.key == claim.key:
            continue
        if _may_run(world, other) or _claimed(other) < _claimed(claim):
            return _orphan_wait(claim, other.key.action_id)
    for action_id, lock in world.starting.items():
        if lock == claim.lock and action_id not in world.claims:
            return _orphan_wait(claim, action_id)
    return None


def _orphan_wait(claim: Claim, holder: str) -> Wait:
    return Wait(
        action_id=claim.key.action_id,
        waiting_for=WaitingFor.LOCK,
        reason=f"lock {claim.lock} is held by {holder}",
        lock=LockPlace(name=claim.lock, holder=holder),
    )


def _may_run(world: World, claim: Claim) -> bool:
    action_id = claim.key.action_id
    observed = world.observations is None or claim.key in world.observations
    return observed or action_id in world.unsettled or action_id in world.busy


def _newer(candidate: Candidate, newest: Mapping[tuple[str, Tier], Candidate]) -> Candidate | None:
    """The one that takes the place of a candidate; None if it keeps it."""
    tier = candidate.tier
    if not candidate.lock or tier is None:
        return None
    above = (newest.get((candidate.lock, other)) for other in Tier if other.rank >= tier.rank)
    return next((newer for newer in above if newer and precedes(candidate, newer)), None)


def _oldest(unstarted: Mapping[str, Sequence[Candidate]]) -> dict[tuple[str, Tier], Candidate]:
    """The oldest of each lock and tier."""
    found: dict[tuple[str, Tier], Candidate] = {}
    for lock, candidates in unstarted.items():
        for candidate in candidates:
            place = (lock, candidate.tier or Tier.HIGH)
            if place not in found or precedes(candidate, found[place]):
                found[place] = candidate
    return found


def _kept_back_by(
    newer: Candidate, oldest: Mapping[tuple[str, Tier], Candidate]
) -> Candidate | None:
    """An older one that must end by itself before a newer one starts."""
    others = (oldest.get((newer.lock, tier)) for tier in Tier)
    return next((o for o in others if o and precedes(o, newer) and _outranks(o, newer)), None)


def _outranks(older: Candidate, newer: Candidate) -> bool:
    return older.tier is None or newer.tier is None or older.tier.rank > newer.tier.rank


def _outranked(older: Candidate, newer: Candidate) -> str:
    name = older.key.action_id
    return (
        f"{name} is older and of tier {older.tier}, so this action of tier {newer.tier} cannot "
        f'supersede it and starts after it; cancel {name}, or give this one blast_radius = "'
        f'{older.tier}"'
    )


def _unstarted(world: World) -> dict[str, list[Candidate]]:
    """By lock: actions that may still start."""
    found: defaultdict[str, list[Candidate]] = defaultdict(list)
    for action_id, candidate in world.candidates.items():
        claim = world.claims.get(action_id)
        started = claim is not None and claim.phase is not Phase.TOMBSTONE
        if candidate.lock and not started and action_id not in world.published:
            found[candidate.lock].append(candidate)
    return dict(found)


def _unread_first(candidate: Candidate, unread: tuple[int, str] | None) -> str:
    """An older one whose file is being read may be of the same lock."""
    if unread is None or (candidate.order_known and unread[0] >= candidate.order):
        return ""
    return f"lock {candidate.lock}: {unread[1]}, which is older, is being read"


def _unjudged(world: World) -> dict[str, list[Candidate]]:
    """By lock: actions that may start as soon as they are judged, which can be done now."""
    found: defaultdict[str, list[Candidate]] = defaultdict(list)
    for action_id, candidate in world.candidates.items():
        if not candidate.lock or candidate.gate_state is not GateState.UNASKED or candidate.problem:
            continue
        missing = needs(Ask(candidate=candidate)) & frozenset(world.down)
        if candidate.unvetted and Dependency.VAULT in world.down:
            continue
        used = action_id in world.claims or action_id in world.published
        if not missing and not used and action_id not in world.paused:
            found[candidate.lock].append(candidate)
    return dict(found)


def _supersedes(candidate: Candidate) -> bool:
    return bool(candidate.lock) and candidate.action is not None and candidate.action.supersedes


def _claimed(claim: Claim) -> tuple[float, str]:
    return claim.claimed_at, claim.key.action_id
