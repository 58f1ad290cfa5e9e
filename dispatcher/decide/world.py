"""The facts that ``reconcile`` decides by: a frozen snapshot of git, ledger and engine."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from dispatcher.decide.placing import Placing
from dispatcher.errors import Dependency
from dispatcher.model.run import Claim, Formula, Observation, RunKey, Tier
from dispatcher.model.verdicts import Verdict

if TYPE_CHECKING:
    from dispatcher.decide.freeze_windows import Calendar
    from dispatcher.decide.tiers import TierDecision
    from dispatcher.model.action import Action


class Provenance(StrEnum):
    """Who wrote the file in git at the path of a claim's result."""

    OURS = "ours"  # signed by us for this action, or byte for byte what the ledger holds
    FOREIGN = "foreign"


class GateState(StrEnum):
    """The gate's decision about a candidate so far."""

    UNASKED = "unasked"
    WAITING = "waiting"
    APPROVED = "approved"
    HELD = "held"  # refused, but not finally: a later change can lift it
    REFUSED = "refused"  # finally


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """An open action file, vetted and judged as far as that could be done.

    Attributes:
        key: id and blob.
        order: position in commit order; smaller came first.
        order_known: False for one that came so long ago that its place among the likes of it is not
            known; it came before all those whose place is.
        lock: name of the lock that it takes; "" for none.
        approved_at: when what the gate approved came to the branch, seconds since the epoch; 0.0 if
            that is not known.
        approval_lasts_s: seconds after which an approval does not count any more; None for never.
        freezes: when it must not start, unless it is an emergency; None for never.
        path: of the file, from the root of the ops repo.
        action: None if the file does not parse.
        problem: why this file can never run, in words; "" if it can. Final.
        unvetted: why it cannot be judged yet (a dependency is down), else "".
        placing: its job class, and what that adds.
        formula: what would run; None while unknown, and for a file that never runs.
        tier_decision: under which tier, and why; None likewise.
        gate_state, reason: the gate's decision, and why.
        gate: which gate decided; "" if none has.
        approved_by: who approved.
        since: when it came to the branch, or was first seen there; seconds since the epoch, 0.0
            if that is not known. Nothing is decided by it.
    """

    key: RunKey
    order: int
    path: str = ""
    action: Action | None = None
    problem: str = ""
    unvetted: str = ""
    formula: Formula | None = None
    placing: Placing = field(default_factory=Placing)
    tier_decision: TierDecision | None = None
    gate_state: GateState = GateState.UNASKED
    reason: str = ""
    gate: str = ""
    approved_by: tuple[str, ...] = ()
    since: float = 0.0
    order_known: bool = True
    lock: str = ""
    approved_at: float = 0.0
    approval_lasts_s: float | None = None
    freezes: Calendar | None = None

    @property
    def tier(self) -> Tier | None:
        """The tier that counts; None while unknown."""
        return self.tier_decision.tier if self.tier_decision else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Requested:
    """A request in the ops repo to cancel an action.

    Attributes:
        blob: git blob hash (hex) of the action that it is about.
        gate_state: only approved requests count. One that has not been judged yet keeps its action
            from starting until then; any other holds up nothing.
        by: who requested it, in words, for the result and the audit log.
    """

    blob: str
    gate_state: GateState = GateState.UNASKED
    by: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What is known of the result of an action that others run after.

    Attributes:
        verdict: as the result has it that we signed; None if there is none that counts.
        problem: why none counts, in words; "" if one does.
    """

    verdict: Verdict | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Maximum runs in flight: in total, and by formula name."""

    max_in_flight: int
    formulas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The facts at one moment.

    No field has a default: ``serve`` and the forecast of ``plan`` each give every fact, so that neither
    can forget one.

    Attributes:
        candidates: open action files, by id.
        published: ids that have a result in the tree, archived ones included; whoever wrote it.
        provenance: who wrote it, by id, if inspected; used only for ids with a claim.
        cancels: requests to cancel, by id; only those that can have an effect.
        archived: ids with a file in the archive; used up, also if their result is missing.
        claims: the ledger's open claims, by id.
        observations: the engine's answer, or None before the first.
        unsettled: ids whose claim changed after the engine was last observed: the observation
            is too old to conclude from it that a run is missing.
        busy: ids with a step in progress; no other step is taken for them.
        paused: ids whose last step failed, or whose file could not be vetted, and why; no step is taken until
            the retry.
        down: dependencies that must not be called now (back-off).
        outages: the last error of each dependency that is down.
        limits: see ``Limits``.
        commit: the branch's head (hex) at which the candidates stand.
        revision: of the rules by which they were judged; see ``dispatcher.loop.fence``.
        now: seconds since the epoch, by the clock of whoever decides.
        unread: open actions that are no candidates yet, each with its position in commit order.
        starting: launches under way: the lock that each takes ("" for none), by id.
        claims_in_doubt: whether the ledger may hold a claim that is not among ``claims``.
        ended: results of actions that others run after, by id; those that were read so far.
    """

    candidates: Mapping[str, Candidate]
    published: Container[str]
    claims: Mapping[str, Claim]
    observations: Mapping[RunKey, Observation] | None
    limits: Limits
    provenance: Mapping[str, Provenance]
    cancels: Mapping[str, Requested]
    archived: Container[str]
    unsettled: Collection[str]
    busy: Collection[str]
    paused: Mapping[str, str]
    down: Collection[Dependency]
    outages: Mapping[Dependency, str]
    commit: str
    revision: int
    now: float
    unread: Mapping[str, int]
    starting: Mapping[str, str]
    claims_in_doubt: bool
    ended: Mapping[str, Ended]
