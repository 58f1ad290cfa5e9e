"""Which attempt to destroy an expired entry is due: pure, but for what the look is asked.

An attempt that failed is repeated after a pause that grows, under an id of its own. So is one that was
invalid, or that somebody changed, removed or put a result beside before it ran: whoever may push can do
that, and must not keep anything from expiring. What was cancelled or rejected is not repeated.

Ids of attempts cannot be guessed before they are in git (``AttemptIds``), so nobody can take one first. One
that is in use although nothing shows that we wrote it was ours, or is: it is passed over, and counts for
the pauses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dispatcher.model.backoff import backoff_s
from dispatcher.model.times import epoch, rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.sources import Look, WrittenRun
from dispatcher.sources.id_code import id_code

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

_REPEATED = frozenset(each for each in Verdict if not each.success and (each.ran or each.alert))
"""The formula ran in vain, or something is wrong that an operator is alerted to and can mend."""

_NEVER_RAN = frozenset({Verdict.INVALID})
"""Nobody decided that, and whoever may push can bring it about, by a schema that is broken for a moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptIds:
    """The ids of the attempts to destroy one content of an entry.

    Attributes:
        stem: their beginning, which shows what they are about.
        secret: see ``id_code``.
    """

    stem: str
    secret: bytes

    def of(self, number: int) -> str:
        """The id of an attempt, of at most 100 characters; the first has number 1."""
        return f"{self.stem}-{id_code(self.secret, f'{self.stem}/{number}')}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What is to be done about one entry.

    Attributes:
        action_id: to be written now; "" for nothing.
        at: when to look again, seconds since the epoch; None if no time changes anything.
        trouble: for people; "" if nothing failed.
        mark: what the next look has to know: how many attempts are in use of which nothing shows when they
            ended, and when that was seen first. One of them may be about to start, so what follows waits.
    """

    action_id: str = ""
    at: float | None = None
    trouble: str = ""
    mark: str = ""


def next_attempt(
    look: Look, ids: AttemptIds, named: Iterable[str] = (), *, mark: str = ""
) -> Attempt:
    """The attempt that follows those that were made.

    Args:
        named: ids in git that begin with the stem, whoever made them: with another key the dispatcher
            gave others.
        mark: of the look before; see ``Attempt``.

    Raises:
        Unavailable, Denied: our key is in Vault and cannot be read.
    """
    runs, lost, free = _runs(look, ids, named)
    ended = [(at, each) for each, run in runs.items() if (at := _ended_at(run)) is not None]
    verdicts = {each: run.result.verdict for each, run in runs.items() if run.result is not None}
    stopped = [each for each, verdict in verdicts.items() if verdict not in _REPEATED | _NEVER_RAN]
    if stopped:
        how = f"{stopped[0]}, which was to destroy it, ended as {verdicts[stopped[0]]} and is not retried"
        return Attempt(trouble=f"{how}; destroy it by an action of your own")
    made = len(ended) + len(lost)
    if len(ended) < len(runs):
        return Attempt(trouble=f"attempt {made + 1} to destroy it has not ended" if made else "")
    if not made:
        return Attempt(action_id=free)
    mark = _mark(mark, len(lost), look.now)
    if lost:
        ended.append((min(float(mark.split()[1]), look.now), lost[-1]))
    last_at, last = max(ended)
    failed = sum(verdict in _REPEATED for verdict in verdicts.values())
    if failed >= ATTEMPTS or not free:
        how = f"{made} attempts to destroy it failed, the last is {last}"
        return Attempt(trouble=f"{how}; destroy it by an action of your own", mark=mark)
    at, how = last_at + _pause(made), _how(last, verdicts)
    if at > look.now:
        next_at = f"attempt {made + 1} is at {rfc3339(at)[:19]}Z"
        return Attempt(at=at, trouble=f"{how}; {next_at}", mark=mark)
    return Attempt(action_id=free, trouble=f"{how}; attempt {made + 1} begins", mark=mark)


def _mark(mark: str, lost: int, now: float) -> str:
    """How many attempts are lost, and since when, by the mark of the look before."""
    if not lost:
        return ""
    return mark if re.fullmatch(rf"{lost} [0-9]{{1,12}}", mark) else f"{lost} {int(now)}"


def _runs(
    look: Look, ids: AttemptIds, named: Iterable[str]
) -> tuple[Mapping[str, WrittenRun], list[str], str]:
    """What was written before, by id; ids in use of which nothing shows any more what was written; and the
    next id that nobody uses, "" if there is none.
    """
    runs: dict[str, WrittenRun] = {}
    lost, free = list[str](), ""
    for number in range(1, IDS + 1):
        action_id = ids.of(number)
        if not look.is_used(action_id):
            free = action_id
            break
        if run := look.written(action_id):
            runs[action_id] = run
        else:
            lost.append(action_id)
    others = sorted(each for each in named if each not in runs and each not in lost)
    found = ((each, look.written(each)) for each in others[:OTHERS])
    return {each: run for each, run in found if run} | runs, lost, free


def _ended_at(run: WrittenRun) -> float | None:
    """When an attempt ended, or somebody took it away; None if it is open."""
    return epoch(run.result.timestamp) if run.result is not None else run.withdrawn_at


def _pause(made: int) -> float:
    """Seconds before the next, after so many attempts."""
    return backoff_s(FIRST_PAUSE_S, LONGEST_PAUSE_S, made, growth=GROWTH)


def _how(action_id: str, verdicts: Mapping[str, Verdict]) -> str:
    """How an attempt came to nothing, in words."""
    verdict = verdicts.get(action_id)
    if verdict is None:
        return f"{action_id} was to destroy it, and somebody changed, removed or replaced it"
    if verdict in _NEVER_RAN:
        return f"{action_id} was to destroy it, and was {verdict}"
    return f"{action_id} failed to destroy it"
