"""When the destruction of an expired entry is repeated: after a growing pause, a limited number of times,
and under ids that nobody can take first.
"""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.loop.expiry_attempts import (
    ATTEMPTS,
    FIRST_PAUSE_S,
    GROWTH,
    IDS,
    LONGEST_PAUSE_S,
    OTHERS,
    Attempt,
    AttemptIds,
    next_attempt,
)
from dispatcher.model.names import is_id
from dispatcher.model.times import rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.sources import Look

ENDED = 1_800_000_000.0
IDS_OF = AttemptIds(stem="expire-web-0123456789ab", secret=b"k" * 32)
FIRST = IDS_OF.of(1)
WITHDRAWN = "withdrawn"
FOREIGN = "foreign"


def look(*ends: Verdict | str | None, after_s: float = 0.0, **more: Any) -> Look:
    """A look some seconds after attempts that ended like this at one time; None is still open.

    Args:
        more: attempts under ids of their own.
    """
    runs = {IDS_OF.of(number): end for number, end in enumerate(ends, 1)} | more

    def written(action_id: str) -> Any:
        end = runs.get(action_id, FOREIGN)
        if end == FOREIGN:
            return None
        made = SimpleNamespace(verdict=end, timestamp=rfc3339(ENDED))
        return SimpleNamespace(
            result=made if isinstance(end, Verdict) else None,
            withdrawn_at=ENDED if end == WITHDRAWN else None,
        )

    return cast(
        Look, SimpleNamespace(now=ENDED + after_s, is_used=runs.__contains__, written=written)
    )


def attempt(
    *ends: Verdict | str | None, named: Collection[str] = (), mark: Any = "", **more: Any
) -> Attempt:
    return next_attempt(look(*ends, **more), IDS_OF, named, mark=mark)


def test_the_first_begins_at_once() -> None:
    assert attempt() == Attempt(action_id=FIRST)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.LOST, Verdict.UNPLACEABLE])
def test_what_failed_is_tried_again_after_a_pause_that_grows(verdict: Verdict) -> None:
    for made in range(1, ATTEMPTS):
        pause = min(FIRST_PAUSE_S * GROWTH ** (made - 1), LONGEST_PAUSE_S)
        early = attempt(*[verdict] * made, after_s=pause - 1)
        assert (early.action_id, early.at) == ("", ENDED + pause)
        assert f"attempt {made + 1} is at 2027" in early.trouble
        due = attempt(*[verdict] * made, after_s=pause)
        assert due.action_id == IDS_OF.of(made + 1)


def test_an_id_says_what_it_is_about_and_cannot_be_guessed() -> None:
    assert FIRST.startswith(f"{IDS_OF.stem}-")
    other = AttemptIds(stem=IDS_OF.stem, secret=b"l" * 32)
    assert len({ids.of(number) for ids in (IDS_OF, other) for number in (1, 2)}) == 4
    longest = AttemptIds(stem=f"expire-{'a' * 70}-0123456789ab", secret=b"k")
    assert is_id(longest.of(1))


def test_an_id_that_somebody_took_is_passed_over_after_the_pauses() -> None:
    """Somebody puts a result beside each attempt before it runs, so that nothing shows when that was."""
    seen = attempt(FOREIGN)
    assert (seen.action_id, seen.at) == ("", ENDED + FIRST_PAUSE_S)
    again = attempt(FOREIGN, mark=seen.mark, after_s=FIRST_PAUSE_S - 1)
    assert (again.action_id, again.at, again.mark) == ("", seen.at, seen.mark)
    due = attempt(FOREIGN, mark=seen.mark, after_s=FIRST_PAUSE_S)
    assert due.action_id == IDS_OF.of(2)
    assert "changed, removed or replaced it; attempt 2 begins" in due.trouble
    more = attempt(FOREIGN, FOREIGN, mark=seen.mark, after_s=FIRST_PAUSE_S)
    assert more.at == ENDED + FIRST_PAUSE_S * (1 + GROWTH), "one more is seen now"
    late = attempt(FOREIGN, Verdict.FAILED, FOREIGN, mark=f"2 {int(ENDED)}", after_s=1e6)
    assert late.action_id == IDS_OF.of(4)
    gone = attempt(*[FOREIGN] * IDS, mark=f"{IDS} 1", after_s=1e9)
    assert (gone.action_id, "of your own" in gone.trouble) == ("", True)
    set_back = attempt(FOREIGN, mark="1 9999999999")
    assert set_back.at == ENDED + FIRST_PAUSE_S, "the clock was ahead then"
    running = attempt(None, mark=seen.mark)
    assert running == Attempt(), "it was about to start"


def test_what_was_invalid_is_repeated_however_often() -> None:
    """Somebody breaks the schema of the destroying formula for a moment."""
    due = attempt(*[Verdict.INVALID] * (ATTEMPTS + 1), after_s=LONGEST_PAUSE_S)
    assert due.action_id == IDS_OF.of(ATTEMPTS + 2)
    assert "was invalid" in due.trouble


def test_what_somebody_removes_before_it_runs_is_written_again_however_often() -> None:
    """Nobody who may only push keeps anything from expiring."""
    assert attempt(WITHDRAWN).at == ENDED + FIRST_PAUSE_S
    for times in (1, ATTEMPTS, IDS - 1):
        due = attempt(*[WITHDRAWN] * times, after_s=LONGEST_PAUSE_S)
        assert due.action_id == IDS_OF.of(times + 1)
        assert "changed, removed or replaced it" in due.trouble


def test_attempts_under_ids_of_another_key_count_and_a_flood_of_names_does_not() -> None:
    """A dispatcher before this one, or one with another key, gave other ids."""
    before = f"{IDS_OF.stem}-2"
    assert attempt(named=[before], **{before: None}) == Attempt()
    failed = attempt(named=[before], **{before: Verdict.FAILED}, after_s=FIRST_PAUSE_S)
    assert failed.action_id == FIRST
    flood = [f"{IDS_OF.stem}-{number:05}" for number in range(20 * OTHERS)]
    late = flood[OTHERS]
    assert attempt(named=flood, **dict.fromkeys(flood, FOREIGN)).action_id == FIRST
    assert attempt(named=flood, **{late: None}).action_id == FIRST, "not looked at"


def test_after_the_last_a_person_is_needed() -> None:
    last = attempt(*[Verdict.FAILED] * ATTEMPTS, after_s=1e9)
    assert (last.action_id, last.at) == ("", None)
    assert f"{ATTEMPTS} attempts to destroy it failed" in last.trouble


def test_what_was_cancelled_is_not_repeated_and_said() -> None:
    ended = attempt(Verdict.CANCELLED, after_s=1e9)
    assert (ended.action_id, ended.at) == ("", None)
    assert f"{FIRST}, which was to destroy it, ended as cancelled" in ended.trouble


@given(
    ends=st.lists(
        st.sampled_from([*Verdict, None, WITHDRAWN, FOREIGN]), min_size=1, max_size=ATTEMPTS
    ),
    after_s=st.floats(0, 1e9),
)
def test_nothing_is_repeated_but_what_failed_or_never_ran(
    ends: list[Verdict | str | None], after_s: float
) -> None:
    made = attempt(*ends, after_s=after_s)
    stopped = {Verdict.SUCCEEDED, Verdict.CANCELLED, Verdict.REFUSED, None}
    if stopped & set(ends):
        assert (made.action_id, made.at) == ("", None)
    assert made.action_id in ("", IDS_OF.of(len(ends) + 1))
