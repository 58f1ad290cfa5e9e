"""Many runs of one formula keep none of another unread."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import pytest

from dispatcher.loop.progress_poll import LONGEST_PAUSE_S
from dispatcher.model.progress import Progress
from dispatcher.model.run import Claim, FormulaKind, FormulaRef, Phase, RunKey
from tests.support.progress_polls import progress_poll


def claim(name: str, formula: str, digit: str) -> Claim:
    ref = FormulaRef(name=formula, kind=FormulaKind.SHELL, blob=digit * 40, sha256=digit * 64)
    return Claim(
        key=RunKey(action_id=name, blob="b" * 40),
        phase=Phase.SUBMITTED,
        commit="c" * 40,
        formula=ref,
    )


def longest_gap(crowd: int, *, crowd_reports: str) -> float:
    clock = [0.0]
    read_at: list[float] = []
    said: set[str] = set()
    victim = claim("victim", "talks", "1")
    claims = [*(claim(f"a{n:04}", "crowd", "2") for n in range(crowd)), victim]

    def progress(batch: Collection[Claim]) -> dict[RunKey, Progress]:
        found = {}
        for each in batch:
            if each is victim:
                read_at.append(clock[0])
                found[each.key] = Progress(stage=f"at {clock[0]}")
            elif crowd_reports == "always":
                found[each.key] = Progress(stage=f"at {clock[0]}")
            elif crowd_reports == "once" and not said:
                said.add("x")
                found[each.key] = Progress(stage="once")
        return found

    polled = progress_poll(progress, claims, clock)
    while clock[0] < 1_000:
        polled.work()
        clock[0] += max(polled.next_in() or 0.0, 0.05)
    times = [0.0, *read_at, clock[0]]
    return max(b - a for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("crowd_reports", ["never", "once", "always"])
def test_many_runs_of_one_formula_keep_no_other_formula_unread_for_minutes(
    crowd_reports: str,
) -> None:
    gap = longest_gap(1_000, crowd_reports=crowd_reports)
    assert gap < LONGEST_PAUSE_S, f"read after {gap:.0f} s"
