"""Dates, numbers and durations in a language, for the templates.

Times arrive as the records have them, RFC 3339 or seconds since the epoch, and are shown in UTC. What
is unknown, or is no time (results are written by whoever may push), is shown as a dash.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from babel.dates import format_datetime, format_skeleton, format_timedelta
from babel.numbers import format_decimal, format_percent
from markupsafe import Markup

from dispatcher.page.language import Language

NOTHING = "\N{EN DASH}"

_UNITS = ("B", "kB", "MB", "GB", "TB")


class Formats:
    """The filters of one language.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, language: Language, clock: Callable[[], float]) -> None:
        self._language, self._clock = language, clock

    def filters(self) -> dict[str, Callable[..., object]]:
        """By the name that templates use."""
        return {
            "moment": self.moment,
            "day": self.day,
            "ago": self.ago,
            "number": self.number,
            "percent": self.percent,
            "duration": self.duration,
            "size": self.size,
        }

    def moment(self, value: object) -> Markup | str:
        """A date with its time of day: ``22 Nov 2026, 07:03 UTC``."""
        at = _time(value)
        return NOTHING if at is None else self._element(at, self._in_full(at), title="")

    def day(self, value: object) -> str:
        """A date without its year: ``22 Nov``."""
        at = _time(value)
        return NOTHING if at is None else format_skeleton("MMMd", at, locale=self._language.locale)

    def ago(self, value: object) -> Markup | str:
        """How long ago, or how long until then; the full date is its title."""
        at = _time(value)
        if at is None:
            return NOTHING
        distance = at.timestamp() - self._clock()
        words = format_timedelta(
            timedelta(seconds=distance),
            add_direction=True,
            threshold=0.95,
            locale=self._language.locale,
        )
        return self._element(at, words, title=self._in_full(at))

    def number(self, value: float | None) -> str:
        """A number with the separators of the language."""
        return NOTHING if value is None else format_decimal(value, locale=self._language.locale)

    def percent(self, value: float | None) -> str:
        """A number from 0 to 100 as a percentage."""
        if value is None:
            return NOTHING
        return format_percent(value / 100, locale=self._language.locale)

    def duration(self, seconds: float | None) -> str:
        """A duration in its two largest units: ``3 min, 12 sec``."""
        if seconds is None:
            return NOTHING
        locale = self._language.locale
        if seconds < 10:
            return self._unit(round(seconds, 1), "duration-second")
        whole = int(seconds)
        sizes = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
        first = next(i for i, (_, size) in enumerate(sizes) if whole >= size)
        shown = []
        for name, size in sizes[first : first + 2]:
            count, whole = divmod(whole, size)
            if count:
                shown.append(self._unit(count, f"duration-{name}"))
        separator = "، " if locale.language == "ar" else ", "
        return separator.join(shown)

    def size(self, count: float | None) -> str:
        """A number of bytes: ``1.2 MB``."""
        if count is None:
            return NOTHING
        value, unit = float(count), 0
        while value >= 1000 and unit < len(_UNITS) - 1:
            value, unit = value / 1000, unit + 1
        digits = f"{self.number(round(value, 1 if unit else 0))}"
        return f"{digits}\u00a0{_UNITS[unit]}"

    def _unit(self, value: float, unit: str) -> str:
        from babel.units import format_unit

        shown = format_unit(value, unit, length="short", locale=self._language.locale)
        return str(shown).replace(" ", "\u00a0")

    def _in_full(self, at: datetime) -> str:
        return format_datetime(at, "medium", locale=self._language.locale) + " UTC"

    @staticmethod
    def _element(at: datetime, words: str, *, title: str) -> Markup:
        attribute = Markup(' title="{}"').format(title) if title else ""
        stamp = at.isoformat(timespec="seconds").replace("+00:00", "Z")
        return Markup('<time datetime="{}"{}>{}</time>').format(stamp, attribute, words)


def _time(value: object) -> datetime | None:
    try:
        if isinstance(value, str) and value:
            at = datetime.fromisoformat(value)
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        if isinstance(value, int | float) and value:
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
