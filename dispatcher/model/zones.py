"""Time zones: the names that people write, and the moment that a time on a clock means.

The zones come from the system, or from the package ``tzdata`` if the system has none.
"""

from __future__ import annotations

import functools
import zoneinfo
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from dispatcher.toml.explain import did_you_mean
from dispatcher.toml.source import quoted

EXAMPLE = "Europe/Berlin"


def zone_problem(name: str) -> tuple[str, str] | None:
    """The problem of a time zone's name, and its remedy; None for a valid one. Only names that mean
    the same on every machine are valid: ``localtime`` is none.
    """
    names = _names(zoneinfo.TZPATH)
    if name in names:
        return None
    likely = did_you_mean(name[:100], sorted(names))
    remedy = likely or f'Write a name of the IANA database, for example "{EXAMPLE}" or "UTC"'
    return f"there is no time zone {quoted(name)}", remedy


@functools.cache
def _names(_path: tuple[str, ...]) -> frozenset[str]:
    """The names of the zones, in their own case whatever the file system is like; without ``posix/…``
    and ``right/…``, which some systems have besides.

    Args:
        _path: where zones are looked for; another one is another question.
    """
    return frozenset({"UTC"}.union(name for name in available_timezones() if "/" in name))


def moment(local: datetime, zone: str, *, later: bool = False) -> float:
    """When a clock in a zone shows a time, in seconds since the epoch.

    A time that the clock skips is the moment at which it skips it. Of a time that it shows twice the
    first one counts.

    Args:
        local: the time on the clock, without a zone.
        zone: a valid name.
        later: whether of a time that the clock shows twice the second one counts.
    """
    info = ZoneInfo(zone)
    first, second = (local.replace(tzinfo=info, fold=fold).timestamp() for fold in (0, 1))
    if first > second:  # PEP 495: so it is exactly where the clock skips the time
        return _change(second, first, info)
    return second if later else first


def _change(before: float, after: float, zone: ZoneInfo) -> float:
    """The first whole second after which the zone's offset is another than at ``before``."""
    offset = datetime.fromtimestamp(before, UTC).astimezone(zone).utcoffset()
    low, high = int(before), int(after)
    while high - low > 1:
        middle = (low + high) // 2
        same = datetime.fromtimestamp(middle, UTC).astimezone(zone).utcoffset() == offset
        low, high = (middle, high) if same else (low, middle)
    return float(high)
