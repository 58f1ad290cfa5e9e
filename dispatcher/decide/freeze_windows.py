"""Freezes as the policy has them: windows of time in which actions of some kinds do not start. Pure.

A window is weekly (days, and times on a clock) or a list of dates. Its times are those of a clock in a
time zone: a window that begins at a time which the clock skips begins when it skips it, and one that
ends at a time which the clock shows twice ends at the second one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from dispatcher.model.names import ID_PATTERN, name_problem
from dispatcher.model.run import Tier
from dispatcher.model.zones import EXAMPLE, moment, zone_problem
from dispatcher.toml.explain import complaint
from dispatcher.toml.source import quoted

HORIZON_S = 400 * 86_400.0
"""Seconds after which no end of adjoining windows is searched for any more."""

_LATEST = datetime(9998, 1, 1, tzinfo=UTC).timestamp()
"""Seconds since the epoch after which weekly windows are taken to be always in force: their ends may
be in a year that no date has.
"""

MAX_WINDOWS, _MAX_NAMES, _MAX_DATES = 50, 100, 200

_NAMED = 3
"""Freezes that a reason names; the rest is counted."""

_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
_END = re.compile(rf"(?:(mon|tue|wed|thu|fri|sat|sun) )?({_TIME}|24:00)")
_DATE = rf"2\d{{3}}-\d{{2}}-\d{{2}}(?:T{_TIME})?"
_RANGE = re.compile(rf"(?P<first>{_DATE})(?:/(?P<last>{_DATE}|\.\.))?", re.ASCII)
_DAY = timedelta(days=1)


class Weekday(StrEnum):
    """A day of the week, in the order of ``date.weekday``."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _checked_zone(value: str) -> str:
    if value and (wrong := zone_problem(value)):
        raise complaint(wrong[0], remedy=wrong[1])
    return value


def _checked_start(value: str) -> str:
    if not re.fullmatch(_TIME, value):
        raise complaint(f"{quoted(value)} is not a time", remedy='Write for example "16:00"')
    return value


def _checked_end(value: str) -> str:
    if not _END.fullmatch(value):
        raise complaint(
            f"{quoted(value)} is not a time", remedy='Write for example "06:00" or "mon 06:00"'
        )
    return value


def _checked_dates(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, text in enumerate(value):
        try:
            first, last = _range(text)
        except ValueError:
            raise complaint(
                f"{quoted(text)} is neither a date nor a range of dates",
                remedy='Write "2026-12-24", "2026-12-20/2027-01-03", "2026-12-18T16:00/2027-01-04T06:00", '
                'or "2026-12-20/.." for one without an end',
                inside=(index,),
            ) from None
        if last is not None and last <= first:
            raise complaint(
                f"{quoted(text)} ends before it begins", remedy="Exchange the two", inside=(index,)
            )
    return value


def _checked_names(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, name in enumerate(value):
        if wrong := name_problem(name, "a formula's name"):
            raise complaint(wrong[0], remedy=wrong[1], inside=(index,))
    return value


_CONFIG = ConfigDict(extra="forbid")
_Zone = Annotated[
    str,
    AfterValidator(_checked_zone),
    Field(
        description="IANA name of the time zone of its times. That of a window counts before that of "
        "[freeze].",
        examples=[EXAMPLE],
    ),
]
_Formulas = Annotated[
    tuple[Annotated[str, Field(json_schema_extra={"pattern": ID_PATTERN})], ...],
    Field(max_length=_MAX_NAMES),
    AfterValidator(_checked_names),
]


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class FreezeWindow:
    """A table ``[freeze.windows.<name>]``: when actions do not start, and which. Either weekly, by
    ``days``, ``start`` and ``end``, or ``dates``.
    """

    days: Annotated[
        tuple[Weekday, ...],
        Field(
            max_length=7,
            description="Days on which it begins; every day if there are none.",
            examples=[["fri"]],
        ),
    ] = ()
    start: Annotated[
        str,
        AfterValidator(_checked_start),
        Field(description="Time at which it begins; 00:00 by default.", examples=["16:00"]),
    ] = ""
    end: Annotated[
        str,
        AfterValidator(_checked_end),
        Field(
            description="Time at which it ends, the next day if it is not later than the start; or "
            "with a day of the week. 24:00 by default.",
            examples=["mon 06:00"],
        ),
    ] = ""
    dates: Annotated[
        tuple[str, ...],
        AfterValidator(_checked_dates),
        Field(
            max_length=_MAX_DATES,
            description="Dates, each a whole day, or ranges that include their last day.",
            examples=[["2026-12-24", "2026-12-31T12:00/2027-01-02"]],
        ),
    ] = ()
    zone: _Zone = ""
    min_tier: Annotated[
        Tier,
        Field(description="Actions of this tier or a higher one do not start.", examples=["high"]),
    ] = Tier.LOW
    formulas: Annotated[
        _Formulas,
        Field(description="Only actions of these formulas; all if empty.", examples=[["deploy"]]),
    ] = ()
    exempt: Annotated[
        _Formulas,
        Field(description="Not actions of these formulas.", examples=[["backup"]]),
    ] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> FreezeWindow:
        weekly = next((key for key in ("days", "start", "end") if getattr(self, key)), "")
        if self.dates and weekly:
            raise complaint(
                f"dates and {weekly} exclude each other",
                remedy="Make two windows, or write times into dates: "
                '"2026-12-18T16:00/2027-01-04T06:00"',
                inside=(weekly,),
            )
        if not self.dates and not weekly:
            raise complaint(
                "the window has no time",
                remedy='Add for example dates = ["2026-12-24"], or days = ["sat", "sun"]',
            )
        if self.end and self.end == (self.start or "00:00"):
            raise complaint(
                "start and end are the same time",
                remedy="Leave out both for whole days",
                inside=("end",),
            )
        if self.formulas and self.exempt:
            raise complaint(
                "formulas and exempt exclude each other",
                remedy="Remove one of them",
                inside=("exempt",),
            )
        return self

    def covers(self, tier: Tier, formula: str) -> bool:
        """Whether actions of this tier and formula are frozen by it."""
        named = formula in self.formulas if self.formulas else formula not in self.exempt
        return named and tier.rank >= self.min_tier.rank


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Freeze:
    """The table ``[freeze]``: when no actions start."""

    zone: _Zone = ""
    emergency_tier: Annotated[
        Tier,
        Field(
            description="Tier that an action with emergency has at least, if a window covers it.",
            examples=["high"],
        ),
    ] = Tier.HIGH
    windows: Annotated[
        dict[str, FreezeWindow],
        Field(
            max_length=MAX_WINDOWS,
            description="By name: a window of time in which actions do not start.",
            json_schema_extra={"propertyNames": {"pattern": ID_PATTERN}},
        ),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _checked(self) -> Freeze:
        for name, window in self.windows.items():
            if wrong := name_problem(name, "the name of a freeze"):
                raise complaint(wrong[0], remedy=wrong[1], inside=("windows", name))
            if not window.zone and not self.zone:
                raise complaint(
                    "the window has no time zone",
                    remedy=f'Add zone = "{EXAMPLE}" to it, or to [freeze]',
                    inside=("windows", name),
                )
        return self

    def covers(self, tier: Tier, formula: str) -> bool:
        """Whether actions of this tier and formula are frozen at any time."""
        return any(window.covers(tier, formula) for window in self.windows.values())

    def calendar(self, tier: Tier, formula: str) -> Calendar | None:
        """When actions of this tier and formula are frozen; None for never."""
        found = tuple(
            _compiled(name, window, window.zone or self.zone)
            for name, window in self.windows.items()
            if window.covers(tier, formula)
        )
        return _calendar(found) if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Frozen:
    """A time without starts.

    Attributes:
        names: of the freezes that it consists of, in order.
        until: its end, seconds since the epoch; None if it has none, or none within a year.
        zone: of the freeze that ends last.
    """

    names: tuple[str, ...]
    until: float | None
    zone: str

    @property
    def name(self) -> str:
        """The freezes, for people."""
        shown = ", ".join(self.names[:_NAMED])
        more = len(self.names) - _NAMED
        what = "freezes" if len(self.names) > 1 else "freeze"
        return f"{what} {shown}" + (f" and {more} more" if more > 0 else "")

    def __str__(self) -> str:
        if self.until is None:
            return f"{self.name}, with no end within a year"
        end = datetime.fromtimestamp(self.until, ZoneInfo(self.zone))
        return f"{self.name}, until {end.isoformat(timespec='minutes')} ({self.zone})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Calendar:
    """The windows that freeze actions of one kind. Compared by identity, so that its answers can be
    cached.
    """

    windows: tuple[_Compiled, ...]

    def frozen(self, at: float) -> Frozen | None:
        """The freeze in force at a time (seconds since the epoch), with all that adjoin or overlap;
        None if there is none.
        """
        if at > _LATEST and (weekly := tuple(w.name for w in self.windows if w.lengths)):
            return Frozen(names=weekly, until=None, zone="")
        # Windows begin and end at whole minutes.
        return _frozen(self, math.floor(at / 60) * 60.0)


@lru_cache(maxsize=256)
def _calendar(windows: tuple[_Compiled, ...]) -> Calendar:
    return Calendar(windows=windows)


@lru_cache(maxsize=256)
def _frozen(calendar: Calendar, at: float) -> Frozen | None:
    end, names, zone = at, dict[str, None](), ""
    while end - at <= HORIZON_S:
        last = end
        for window in calendar.windows:
            if (later := window.end(last)) is not None:
                names[window.name] = None
                if later > end:
                    end, zone = later, window.zone
        if end == last:
            return Frozen(names=tuple(names), until=end, zone=zone) if end > at else None
    if math.isfinite(end) and all(window.end(end) is None for window in calendar.windows):
        return Frozen(names=tuple(names), until=end, zone=zone)
    return Frozen(names=tuple(names), until=None, zone=zone)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compiled:
    """A window, ready to be asked.

    Attributes:
        lengths: by day of the week on which it may begin, from Monday: whole days from then to the
            day of its end, or None if it does not begin then. Empty if it has ``spans`` instead.
        start, end_time: on the clock, of those days.
        spans: beginnings and ends, seconds since the epoch.
    """

    name: str
    zone: str
    lengths: tuple[int | None, ...] = ()
    start: time = time()
    end_time: time = time()
    spans: tuple[tuple[float, float], ...] = ()

    def end(self, at: float) -> float | None:
        """The end of what is in force at a time; None if nothing is."""
        return max((end for begin, end in self._near(at) if begin <= at < end), default=None)

    def _near(self, at: float) -> Iterator[tuple[float, float]]:
        yield from self.spans
        if not self.lengths:
            return
        today = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(self.zone)).date()
        for back in range(8):  # none is longer than a week
            first = today - back * _DAY
            length = self.lengths[first.weekday()]
            if length is not None and length >= back:
                begin = moment(datetime.combine(first, self.start), self.zone)
                last = datetime.combine(first + length * _DAY, self.end_time)
                yield begin, moment(last, self.zone, later=True)


@lru_cache(maxsize=256)
def _compiled(name: str, window: FreezeWindow, zone: str) -> _Compiled:
    if window.dates:
        return _Compiled(
            name=name, zone=zone, spans=tuple(_span(text, zone) for text in window.dates)
        )
    start = time.fromisoformat(window.start or "00:00")
    on, _, at = (window.end or "24:00").rpartition(" ")
    midnight = at == "24:00"
    end = time() if midnight else time.fromisoformat(at)
    begins_on = window.days or tuple(Weekday)
    lengths: list[int | None] = []
    for day, name_of_day in enumerate(Weekday):
        length = (list(Weekday).index(Weekday(on)) - day) % 7 if on else 0
        length += midnight
        if length == 0 and end <= start:
            length = 7 if on else 1
        lengths.append(length if name_of_day in begins_on else None)
    return _Compiled(name=name, zone=zone, lengths=tuple(lengths), start=start, end_time=end)


def _span(text: str, zone: str) -> tuple[float, float]:
    first, last = _range(text)
    end = math.inf if last is None else moment(last, zone, later=True)
    return moment(first, zone), end


def _range(text: str) -> tuple[datetime, datetime | None]:
    """Beginning and end of a date or range on the clock; None for no end.

    Raises:
        ValueError: it is neither.
    """
    parts = _RANGE.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    first, last = parts["first"], parts["last"]
    begin = datetime.fromisoformat(first)
    if last == "..":
        return begin, None
    if last is None:
        last = first.partition("T")[0]
    if "T" in last:
        return begin, datetime.fromisoformat(last)
    try:
        return begin, datetime.combine(date.fromisoformat(last) + _DAY, time())
    except OverflowError:
        raise ValueError(text) from None
