"""Exponential backoff: the pauses between tries of what failed."""

from __future__ import annotations

_LARGEST = 100
"""Of exponents, so that no float overflows; every longest pause is reached long before."""


def backoff_s(first_s: float, longest_s: float, times: int, *, growth: float = 2.0) -> float:
    """Seconds to pause after something failed so many times in a row.

    Args:
        first_s: after the first time; each further pause is ``growth`` times as long.
        longest_s: no pause is longer.
        times: at least 1.
    """
    return min(longest_s, first_s * growth ** min(times - 1, _LARGEST))
