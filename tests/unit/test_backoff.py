"""Pauses between tries grow up to the longest, however often it fails."""

from __future__ import annotations

import pytest

from dispatcher.loop.inventory_restoring import LONGEST_PAUSE_S, _Restored
from dispatcher.model.backoff import backoff_s


def test_each_pause_is_longer_up_to_the_longest() -> None:
    assert [backoff_s(1, 10, times) for times in (1, 2, 3, 4, 5, 6)] == [1, 2, 4, 8, 10, 10]
    assert [backoff_s(60, 86_400, times, growth=5) for times in (1, 2, 3)] == [60, 300, 1_500]


@pytest.mark.parametrize("growth", [2, 5])
def test_years_of_failures_overflow_nothing(growth: float) -> None:
    assert backoff_s(60, 86_400, 100_000, growth=growth) == 86_400


def test_an_entry_that_is_removed_for_years_is_still_written_back() -> None:
    assert _Restored(times=10_000, at=0.0).next_at == LONGEST_PAUSE_S
