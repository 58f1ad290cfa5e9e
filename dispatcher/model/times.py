"""Formats and parses times: RFC 3339 in UTC with milliseconds in all JSON output.

Internally, times are seconds since the epoch. This module imports nothing that is slow to load.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
"""A time with its offset, as people write it; TOML allows a space for the T."""


def rfc3339(at: float) -> str:
    """Seconds since the epoch as ``2026-03-01T12:00:00.000Z``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def known_time(at: float) -> str | None:
    """The same, or None for 0.0, which means an unknown time."""
    return rfc3339(at) if at else None


def epoch(text: str) -> float:
    """The reverse, of any RFC 3339 time; also of one with nanoseconds, which Vault writes.

    Raises:
        ValueError: it is none.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return at.timestamp()


def is_rfc3339(text: str) -> bool:
    """Whether it is a time with its offset that ``epoch`` can read, and ``rfc3339`` can write: one
    of the first or last hours of all years can be in none, in UTC.
    """
    if not _RFC3339.fullmatch(text):
        return False
    try:
        rfc3339(epoch(text))
    except (ValueError, OverflowError):
        return False
    return True


def in_utc(text: str) -> str | None:
    """A time with its offset as ``rfc3339`` writes it; None for what is none, or is in no year of UTC."""
    try:
        return rfc3339(epoch(text))
    except (ValueError, OverflowError):
        return None


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``10m``, ``1h30m``, ``2d``.

    Raises:
        ValueError: it is none.
    """
    parts = re.fullmatch(
        r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", text, re.ASCII
    )
    if parts is None:
        raise ValueError(f"{text!r} is no duration")
    units = (86400, 3600, 60, 1)
    return sum(float(part or 0) * unit for part, unit in zip(parts.groups(), units, strict=True))


def took(seconds: float) -> str:
    """A duration for people: ``34 ms``, ``2.1 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 0.9995:
        return f"{round(max(seconds, 0.0) * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
