"""Which attempt to destroy an expired entry is due: pure, but for what the look is asked.

An attempt that failed is repeated after a pause that grows, under an id of its own. So is one whose file
somebody changed or removed before it ran: whoever may push can do that, and must not keep anything from
expiring. What was cancelled or rejected is not repeated, nor is what was invalid: it would end the same way.

Ids of attempts cannot be guessed before they are in git (``AttemptIds``), so nobody can take one first. One
that is taken all the same is passed over.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dispatcher.model.times import epoch, rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.sources import Look, WrittenRun

ATTEMPTS = 6
"""How often it is tried in all; what never ran does not count."""

FIRST_PAUSE_S = 60.0
"""Seconds after the first attempt; each further pause is ``GROWTH`` times as long, about a day in all."""

GROWTH = 5

LONGEST_PAUSE_S = 86_400.0

IDS = 400
"""Ids that are looked at: more than a year of attempts that somebody removes."""

OTHERS = 50
"""Maximum of attempts with other ids that are looked at: anybody can make files with such names."""

SECRET_CHARACTERS = 9
"""Of an id, 5 bits each. With stem and dash an id has at most 100."""

_REPEATED = frozenset(each for each in Verdict if not each.success and (each.ran or each.alert))
"""The formula ran in vain, or something is wrong that an operator is alerted to and can mend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptIds:
    """The ids of the attempts to destroy one content of an entry.

    Attributes:
        stem: their beginning, which shows what they are about.
        secret: known to the dispatcher alone, and the same after every restart.
    """

    stem: str
    secret: bytes

    def of(self, number: int) -> str:
        """The id of an attempt; the first has number 1."""
        code = hmac.digest(self.secret, f"{self.stem}/{number}".encode(), hashlib.sha256)
        return f"{self.stem}-{base64.b32encode(code)[:SECRET_CHARACTERS].decode().lower()}"


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


def next_attempt(look: Look, ids: AttemptIds, named: Iterable[str] = ()) -> Attempt:
    """The attempt that follows those that were made.

    Args:
        named: ids in git that begin with the stem, whoever made them: with another key the dispatcher
            gave others.

    Raises:
        Unavailable, Denied: our key is in Vault and cannot be read.
    """
    runs, free = _runs(look, ids, named)
    ended: list[tuple[float, str]] = []
    failures = 0
    for action_id, run in runs.items():
        if run.result is not None and run.result.verdict not in _REPEATED:
            what = (
                f"{action_id} was to destroy it, ended as {run.result.verdict} and is not repeated"
            )
            return Attempt(trouble=f"{what}; destroy it by an action of your own")
        at = epoch(run.result.timestamp) if run.result is not None else run.withdrawn_at
        if at is None:
            return Attempt(trouble=f"{_last(ended, runs)} has not ended" if ended else "")
        ended.append((at, action_id))
        failures += run.result is not None
    if not ended:
        return Attempt(action_id=free)
    if failures >= ATTEMPTS or not free:
        what = f"{len(ended)} attempts to destroy it failed, the last is {max(ended)[1]}"
        return Attempt(trouble=f"{what}; destroy it by an action of your own")
    return _due(look, _last(ended, runs), max(ended)[0], len(ended), free)


def _runs(
    look: Look, ids: AttemptIds, named: Iterable[str]
) -> tuple[Mapping[str, WrittenRun], str]:
    """What was written before, by id, and the next id that nobody uses; "" if there is none."""
    runs: dict[str, WrittenRun] = {}
    ours, free = set(), ""
    for number in range(1, IDS + 1):
        action_id = ids.of(number)
        if not look.is_used(action_id):
            free = action_id
            break
        ours.add(action_id)
        if run := look.written(action_id):
            runs[action_id] = run
    others = sorted(each for each in named if each not in ours)
    found = ((each, look.written(each)) for each in others[:OTHERS])
    return {each: run for each, run in found if run} | runs, free


def _due(look: Look, failed: str, ended_at: float, made: int, free: str) -> Attempt:
    """An attempt that was not made yet, now or after the pause."""
    at = ended_at + min(FIRST_PAUSE_S * float(GROWTH) ** (made - 1), LONGEST_PAUSE_S)
    if at > look.now:
        return Attempt(at=at, trouble=f"{failed} is at {rfc3339(at)[:19]}Z")
    return Attempt(action_id=free, trouble=f"{failed} begins")


def _last(ended: list[tuple[float, str]], runs: Mapping[str, WrittenRun]) -> str:
    """The last attempt that did not destroy it, and the next, in words."""
    action_id = max(ended)[1]
    ran = runs[action_id].result is not None
    what = (
        "failed to destroy it" if ran else "was to destroy it, and its file was changed or removed"
    )
    return f"{action_id} {what}; attempt {len(ended) + 1}"
