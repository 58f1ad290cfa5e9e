"""Approves an action that destroys what has expired, through the run that gave it its lifetime.

The dispatcher wrote and signed the action, and before it did, it checked the entry of the inventory
against the signed result that wrote it (``dispatcher.loop.expiry``). The action pins that entry's blob.
Whoever approved that run approved the lifetime, up to the tier that the run had.
"""

from __future__ import annotations

import json

from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.model.run import Tier

KIND = "expiry"
NAME = "expiry"
"""Of this gate, in decisions."""


def approved_by_lifetime(question: Question, entry: bytes, *, origin: str) -> Decision | None:
    """The approval of an action that destroys what has expired; None if the run that wrote the entry
    had a lower tier than the action has, or if the policy asks for certain people or several.

    Args:
        entry: the bytes of the entry, whose blob the action pins.
        origin: of the action, for the reason.
    """
    try:
        plain = json.loads(entry)
        tier = Tier(plain["tier"])
        approved_by = tuple(str(each) for each in plain["approved_by"])
        result = str(plain["result"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if tier.rank < question.tier.rank:
        return None
    if question.tier is not Tier.LOW and not all(rule.plain for rule in question.need.rules):
        return None  # whom that run needed is not known here
    return Decision(
        answer=Answer.APPROVED,
        reason=f"written for {origin}: {result} was approved at tier {tier} with this lifetime",
        gate=NAME,
        approved_by=approved_by,
    )
