"""The slots of a schedule: a cron expression in a time zone, as points in time. Pure.

``cronsim`` parses the expression and walks over wall-clock times; which points in time these are is
decided here, so that it is the same forwards and backwards, in every zone (cronsim's own handling of
daylight saving is Debian's, and leaves out slots where clocks move by half an hour):

* A wall-clock time that does not exist, because clocks are put forward, moves forward by as much as the
  clocks do: 02:30 becomes 03:30.
* One that exists twice, because clocks are put back, counts once, the first time. If the expression
  is for every hour (``*`` as the hour), it counts both times, and one that does not exist is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from dispatcher.toml.source import quoted

if TYPE_CHECKING:
    from cronsim import CronSim

SHORTEST_MINUTES = 5
"""Least minutes between two slots of a schedule."""

LONGEST_EXPRESSION = 100
"""Characters."""

_NEAR_HOURS = (-26, -13, 0, 13, 26)
"""Where it is checked whether clocks change: a zone may skip a day when it changes sides."""

_FIELDS = 5
_SEARCHED_FROM = datetime(2024, 1, 1)
_HOURS = 24


def cron_problem(expression: str) -> str:
    """Why this is no cron expression for a schedule, as a clause; "" for a good one."""
    from cronsim import CronSim, CronSimError

    shown = quoted(expression[:LONGEST_EXPRESSION])
    if len(expression) > LONGEST_EXPRESSION:
        return f"{shown}… has {len(expression)} characters, more than {LONGEST_EXPRESSION}"
    if len(expression.split()) != _FIELDS or not expression.isascii():
        return f"{shown} does not have the five fields minute, hour, day, month and weekday"
    try:
        walk = CronSim(expression, _SEARCHED_FROM)
        next(walk)
    except CronSimError as error:
        return f"{shown} is not a cron expression: {str(error)[:1].lower()}{str(error)[1:]}"
    except StopIteration:
        return f"{shown} matches no day in the next 50 years"
    if _least_gap(walk) < SHORTEST_MINUTES:
        return f"{shown} has slots less than {SHORTEST_MINUTES} minutes apart"
    return ""


def _least_gap(walk: CronSim) -> int:
    """Least minutes between two slots, as if every hour and day matched that is next to another."""
    minutes = sorted(walk.minutes)
    gaps = [later - earlier for earlier, later in pairwise(minutes)]
    if any((hour + 1) % _HOURS in walk.hours for hour in walk.hours):
        gaps.append(60 - minutes[-1] + minutes[0])
    return min(gaps, default=60)


@dataclass(frozen=True, kw_only=True)
class Slots:
    """The slots of a valid expression in a valid zone.

    Attributes:
        cron: see ``cron_problem``.
        zone: see ``dispatcher.model.zones.zone_problem``.
    """

    cron: str
    zone: str

    def after(self, moment: float) -> float | None:
        """The first slot later than a time; both in seconds since the epoch. None if there is none in
        the next 50 years.
        """
        begin, best = _utc(moment), None
        last_wall = datetime.max
        for wall in self._walk(self._wall(begin) - self._margin(begin)):
            if wall > last_wall:
                break
            later = [slot for slot in self._of(wall) if slot > begin]
            if later and (best is None or min(later) < best):
                best = min(later)
                last_wall = self._wall(best) + self._margin(best)
        return best.timestamp() if best else None

    def until(self, moment: float, *, since: float, limit: int) -> list[float]:
        """The latest slots up to a time, in order.

        Args:
            moment: seconds since the epoch; a slot at that time is one of them.
            since: only slots later than this.
            limit: at most so many.
        """
        end, start = _utc(moment), _utc(since)
        found: set[datetime] = set()
        earliest = self._wall(start) - self._margin(start)
        latest = self._wall(end) + self._margin(end) + timedelta(minutes=1)
        backwards = self._walk(latest, reverse=True)
        for wall in takewhile(lambda wall: wall >= earliest, backwards):
            found.update(slot for slot in self._of(wall) if start < slot <= end)
            if len(found) >= limit:
                first = sorted(found)[-limit]
                if wall < self._wall(first) - self._margin(first):
                    break
        return [slot.timestamp() for slot in sorted(found)[-limit:]]

    def local(self, moment: float) -> datetime:
        """A time in the zone."""
        return _utc(moment).astimezone(self._tz)

    @cached_property
    def _tz(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    @cached_property
    def _hourly(self) -> bool:
        return self.cron.split()[1] == "*"

    def _wall(self, moment: datetime) -> datetime:
        return moment.astimezone(self._tz).replace(tzinfo=None)

    def _margin(self, moment: datetime) -> timedelta:
        """By how much wall-clock times near a time may be out of order."""
        near = (moment + timedelta(hours=hours) for hours in _NEAR_HOURS)
        offsets = [each.astimezone(self._tz).utcoffset() or timedelta() for each in near]
        return max(offsets) - min(offsets)

    def _walk(self, wall: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        from cronsim import CronSim

        # Neither direction includes the time that it begins at.
        yield from CronSim(self.cron, wall.replace(microsecond=0), reverse=reverse)

    def _of(self, wall: datetime) -> Iterator[datetime]:
        """The points in time that a wall-clock time stands for."""
        first = wall.replace(tzinfo=self._tz).astimezone(UTC)
        if not self._hourly:
            yield first
            return
        second = wall.replace(tzinfo=self._tz, fold=1).astimezone(UTC)
        for slot in sorted({first, second}):
            if self._wall(slot) == wall:
                yield slot


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
