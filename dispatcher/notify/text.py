"""Cleans the texts of notifications: no secrets, no control characters, limited length.

Anybody with push rights controls much of what a notice quotes: names, problems of files, a formula's
output. What has a meaning to a sink (markup, mentions, headers) is escaped by that sink.
"""

from __future__ import annotations

import itertools
import threading
import unicodedata
from collections.abc import Callable, Collection, Mapping

from dispatcher.runner.redact import Secrets

LINE_LIMIT = 200
"""Characters of a line that is a name or a title."""

DETAIL_LIMIT = 1_000
OUTPUT_LIMIT = 500

SHORTEST = 8
"""Bytes of the shortest secret that is redacted: a shorter one would match ordinary words."""

KEPT = 200
"""Values that are redacted; those that were replaced longest ago are forgotten beyond it."""

_INVISIBLE = frozenset({"Cf", "Co", "Cs", "Cn"})
"""Unicode's categories of characters that are invisible or change how other text is displayed."""


class Cleaner:
    """Cleans texts before they leave this machine. Thread-safe.

    Args:
        secrets: gives the values to redact, by the name that is shown instead. Called for each text,
            because a credential may be replaced at any time; the one before may still be valid, so
            that it stays redacted.
    """

    def __init__(self, secrets: Callable[[], Mapping[str, str]]) -> None:
        self._read = secrets
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}  # by value, the latest last
        self._known = Secrets({})

    def line(self, text: str, limit: int = LINE_LIMIT) -> str:
        """A text as one line."""
        return _cut(" ".join(self._clean(text).split()), limit)

    def block(self, text: str, limit: int = DETAIL_LIMIT) -> str:
        """A text that may have several lines."""
        return _cut(self._clean(text).strip(), limit)

    def end(self, text: str, limit: int = OUTPUT_LIMIT) -> str:
        """The end of a text."""
        text = self._clean(text).strip()
        return text if len(text) <= limit else "\u2026" + text[-(limit - 1) :]

    def _clean(self, text: str) -> str:
        """Redact before and after removing invisible characters, because they may split a secret."""
        secrets = self._secrets()
        if not secrets:
            return "".join(map(_visible, text))
        return secrets.redact_text("".join(map(_visible, secrets.redact_text(text))))

    def _secrets(self) -> Secrets:
        read = {v: name for name, v in self._read().items() if len(v.encode()) >= SHORTEST}
        with self._lock:
            if not read.keys() <= self._names.keys():
                before = {v: name for v, name in self._names.items() if v not in read}
                kept = [*before.items(), *read.items()][-max(KEPT, len(read)) :]
                self._names = dict(kept)
                shown: dict[str, str] = {}
                for value, name in reversed(kept):
                    shown[unused(name, shown)] = value
                self._known = Secrets({name: v.encode() for name, v in shown.items()})
            return self._known


def unused(name: str, names: Collection[str]) -> str:
    """The name, with a number if it is among these."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in names)


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    category = unicodedata.category(character)
    if category in ("Zl", "Zp", "Cc"):
        return " "
    return "" if category in _INVISIBLE else character


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "\u2026"
