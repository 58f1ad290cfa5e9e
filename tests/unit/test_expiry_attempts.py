"""When the destruction of an expired entry is repeated: after a growing pause, a limited number of times."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.loop.expiry_attempts import ATTEMPTS, FIRST_PAUSE_S, GROWTH, Attempt, next_attempt
from dispatcher.model.times import rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.sources import Look

ENDED = 1_800_000_000.0
FIRST = "expire-web-0123456789ab"


def look(*verdicts: Verdict | None, after_s: float = 0.0, foreign: bool = False) -> Look:
    """A look some seconds after attempts that ended like this at one time; None is still open."""
    ids = [FIRST if n == 0 else f"{FIRST}-{n + 1}" for n in range(len(verdicts))]
    runs = dict(zip(ids, verdicts, strict=True))

    def written(action_id: str) -> Any:
        verdict = runs[action_id]
        made = SimpleNamespace(verdict=verdict, timestamp=rfc3339(ENDED))
        return None if foreign else SimpleNamespace(result=made if verdict else None)

    def is_open(action_id: str) -> bool:
        return action_id in runs and runs[action_id] is None

    seen = SimpleNamespace(
        now=ENDED + after_s, is_used=runs.__contains__, is_open=is_open, written=written
    )
    return cast(Look, seen)


def test_the_first_begins_at_once() -> None:
    assert next_attempt(look(), FIRST) == Attempt(action_id=FIRST)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.LOST, Verdict.UNPLACEABLE])
def test_what_failed_is_tried_again_after_a_pause_that_grows(verdict: Verdict) -> None:
    for made in range(1, ATTEMPTS):
        pause = FIRST_PAUSE_S * GROWTH ** (made - 1)
        early = next_attempt(look(*[verdict] * made, after_s=pause - 1), FIRST)
        assert (early.action_id, early.at) == ("", ENDED + pause)
        assert f"attempt {made + 1} of {ATTEMPTS} is at 2027" in early.trouble
        due = next_attempt(look(*[verdict] * made, after_s=pause), FIRST)
        assert due.action_id == f"{FIRST}-{made + 1}"


def test_an_id_that_somebody_took_is_named() -> None:
    attempt = next_attempt(look(Verdict.SUCCEEDED, foreign=True), FIRST)
    assert attempt.action_id == ""
    assert attempt.trouble.startswith(
        f"{FIRST}, the id of the action that would destroy it, is taken"
    )


def test_after_the_last_a_person_is_needed() -> None:
    last = next_attempt(look(*[Verdict.FAILED] * ATTEMPTS, after_s=1e9), FIRST)
    assert (last.action_id, last.at) == ("", None)
    assert f"the last is {FIRST}-{ATTEMPTS}" in last.trouble


@given(
    verdicts=st.lists(st.sampled_from([*Verdict, None]), min_size=1, max_size=ATTEMPTS),
    after_s=st.floats(0, 1e9),
    foreign=st.booleans(),
)
def test_nothing_is_repeated_but_what_failed(
    verdicts: list[Verdict | None], after_s: float, *, foreign: bool
) -> None:
    attempt = next_attempt(look(*verdicts, after_s=after_s, foreign=foreign), FIRST)
    stopped = {Verdict.SUCCEEDED, Verdict.CANCELLED, Verdict.REFUSED, Verdict.INVALID, None}
    if foreign or stopped & set(verdicts):
        assert (attempt.action_id, attempt.at) == ("", None)
    assert attempt.action_id in ("", f"{FIRST}-{len(verdicts) + 1}")
