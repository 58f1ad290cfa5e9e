"""Which attempt to destroy an expired entry is due: pure, but for what the look is asked.

An attempt that failed is repeated after a pause that grows, under an id of its own, ``<id>-2`` and so on.
What a person stopped (cancelled, rejected, or deleted before it ran) is not repeated, nor is what was
invalid or expired: it would end the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.model.times import epoch, rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.sources import Look

ATTEMPTS = 6
"""How often it is tried in all."""

FIRST_PAUSE_S = 60.0
"""Seconds after the first failure; each further pause is ``GROWTH`` times as long, about a day in all."""

GROWTH = 5

_REPEATED = frozenset(each for each in Verdict if not each.success and (each.ran or each.alert))
"""The formula ran in vain, or something is wrong that an operator is alerted to and can mend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What is to be done about one entry.

    Attributes:
        action_id: to be written now; "" for nothing.
        at: when to look again, seconds since the epoch; None if no time changes anything.
        trouble: for people; "" if nothing failed.
    """

    action_id: str = ""
    at: float | None = None
    trouble: str = ""


def next_attempt(look: Look, first_id: str) -> Attempt:
    """The attempt that follows those that were made.

    Args:
        first_id: id of the first.

    Raises:
        Unavailable, Denied: our key is in Vault and cannot be read.
    """
    for number in range(1, ATTEMPTS + 1):
        action_id = _named(first_id, number)
        if not look.is_used(action_id):
            return _due(look, action_id, first_id, number)
        run = look.written(action_id)
        if number > 1 and look.is_open(action_id):
            return Attempt(trouble=f"{_failed(first_id, number)} has not ended")
        if run is None:
            return Attempt(
                trouble=f"{action_id}, the id of the action that would destroy it, is taken by a file that "
                "is not ours: remove that file, or destroy it by an action of your own"
            )
        if run.result is None or run.result.verdict not in _REPEATED:
            return Attempt()
    what = f"{ATTEMPTS} attempts to destroy it failed, the last is {first_id}-{ATTEMPTS}"
    return Attempt(trouble=f"{what}; destroy it by an action of your own")


def _due(look: Look, action_id: str, first_id: str, number: int) -> Attempt:
    """An attempt that was not made yet, now or after the pause."""
    if number == 1:
        return Attempt(action_id=action_id)
    run = look.written(_named(first_id, number - 1))
    ended = epoch(run.result.timestamp) if run is not None and run.result is not None else look.now
    at = ended + FIRST_PAUSE_S * GROWTH ** (number - 2)
    trouble = _failed(first_id, number)
    if at > look.now:
        return Attempt(at=at, trouble=f"{trouble} is at {rfc3339(at)[:19]}Z")
    return Attempt(action_id=action_id, trouble=f"{trouble} begins")


def _named(first_id: str, number: int) -> str:
    return first_id if number == 1 else f"{first_id}-{number}"


def _failed(first_id: str, number: int) -> str:
    what = f"{_named(first_id, number - 1)} failed to destroy it"
    return f"{what}; attempt {number} of {ATTEMPTS}"
