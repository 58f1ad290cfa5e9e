"""The two rates at which time is driven, and what one of them left."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How many runs there are.

    Attributes:
        name: of the line in the charts.
        what: the same in words.
        runs: of a day.
        days: that pass.
        batch: runs that come in one push and end together.
        after_days: age at which finished actions are archived.
        checkpoints: shares of the time after which ``serve`` is started on what is there.
    """

    name: str
    what: str
    runs: int
    days: float
    batch: int
    after_days: float
    checkpoints: tuple[float, ...]

    @property
    def batches(self) -> int:
        """Of the whole time."""
        return round(self.runs * self.days / self.batch)

    @property
    def step_s(self) -> float:
        """Seconds of simulated time between two batches."""
        return DAY_S * self.batch / self.runs

    def shrunk(self, factor: int) -> Rate:
        """The same with fewer runs a day, for a trial."""
        return replace(self, runs=self.runs // factor, batch=self.batch // factor)


YEAR = Rate(
    name="year",
    what="50 runs a day for a year",
    runs=50,
    days=365,
    batch=100,
    after_days=7,
    checkpoints=(0.1, 1),
)
FULL = Rate(
    name="full",
    what="100,000 runs a day for half a day",
    runs=100_000,
    days=0.5,
    batch=500,
    after_days=1 / 24,
    checkpoints=(0.1, 1),
)
BUILT = "built"
ARCHIVED = (10_000, 100_000, 400_000)
"""Of the course that is not driven but built: remotes with so many archived actions, and ``serve`` on
them."""

WHAT = {
    YEAR.name: YEAR.what,
    FULL.name: FULL.what,
    BUILT: "archived actions made at once",
}


@dataclass(kw_only=True)
class Course:
    """What one rate did.

    Attributes:
        rate: its name.
        runs: until the end.
        samples: measured in passing: ``runs`` so far, and a number by name.
        served: measured by ``serve`` at the checkpoints, likewise.
        end: measured at the end.
    """

    rate: str
    runs: int = 0
    samples: list[dict[str, float]] = field(default_factory=list)
    served: list[dict[str, float]] = field(default_factory=list)
    end: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Course:
        """As ``asdict`` made it."""
        return cls(**data)

    def last(self, name: str) -> float:
        """A number of the last sample."""
        return self.samples[-1][name]
