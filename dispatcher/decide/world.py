"""The facts that ``reconcile`` decides by: one frozen picture of git, ledger and engine."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from dispatcher.errors import Dependency
from dispatcher.model.run import Claim, Formula, Observation, RunKey, Tier

if TYPE_CHECKING:
    from dispatcher.decide.policy import TierDecision
    from dispatcher.model.action import Action


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
    """An open action file, vetted and judged as far as that could be done.

    Attributes:
        key: id and blob.
        order: position in commit order; smaller came first.
        path: of the file, from the root of the ops repo.
        action: None if the file does not parse.
        problem: why this file can never run, in words; "" if it can. Final.
        unvetted: why it cannot be judged yet (a dependency is down), else "".
        formula: what would run; None while unknown, and for a file that never runs.
        tier_decision: under which tier, and why; None likewise.
        gate_state, reason: the gate's answer, and why.
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
    tier_decision: TierDecision | None = None
    gate_state: GateState = GateState.UNASKED
    reason: str = ""
    approved_by: tuple[str, ...] = ()
    since: float = 0.0

    @property
    def tier(self) -> Tier | None:
        """The tier that counts; None while unknown."""
        return self.tier_decision.tier if self.tier_decision else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Requested:
    """A request in the ops repo to cancel an action.

    Attributes:
        blob: the content of the action (hex) that it is about.
        gate_state: approved ones alone count. One that nobody has looked at yet keeps its action from
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
        paused: ids whose last step failed, and why; left alone until it is retried.
        down: dependencies that must not be asked now (back-off).
        outages: what those that are down said last, in words.
        limits: see ``Limits``.
        commit: the branch's head (hex) at which the candidates stand.
        revision: of the rules by which they were judged; see ``dispatcher.loop.fence``.
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
    commit: str = ""
    revision: int = 0
