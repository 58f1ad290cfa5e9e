"""Actions of one formula of tier low, each with what it asks for: a lock, times, others that it runs after."""

from __future__ import annotations

from dispatcher.decide.tiers import Contribution, Item, TierDecision
from dispatcher.decide.world import Candidate, GateState
from dispatcher.model.action import Action
from dispatcher.model.approval_need import PLAIN
from dispatcher.model.run import Formula, FormulaKind, FormulaRef, RunKey, Tier
from dispatcher.ops_repo import ActionFile

REF = FormulaRef(name="hello", kind=FormulaKind.SHELL, blob="f" * 40, sha256="0" * 64)
FORMULA = Formula(ref=REF, path="", text=b"#!/bin/bash\n")
LOW = TierDecision(
    contributions=(Contribution(item=Item.FORMULA, name="hello", tier=Tier.LOW, source=""),),
    reason="",
    need=PLAIN,
    formula_need=PLAIN,
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
    """The action as the loop sees it, vetted and put to the gate."""
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
