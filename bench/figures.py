"""A figure: the goal of one measurement, the value measured, and whether the goal is reached."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    Attributes:
        name: of the measurement, as ``--only`` takes it.
        what: what is measured.
        goal: the goal, in words; "" if it is reported only for comparison.
        measured: the result, in words and numbers.
        reached: whether the goal is met; None if there is none.
        values: the numbers behind it.
    """

    name: str
    what: str
    goal: str
    measured: str
    reached: bool | None
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """As the table says it."""
        return {True: "met", False: "**missed**", None: "-"}[self.reached]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that ``percent`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, -(-len(ordered) * percent // 100) - 1)]
