"""Cleans the texts of notifications: no secrets, no control characters, limited length. Pure.

Anybody with push rights controls much of what a notice quotes: names, problems of files, a formula's
output. What has a meaning to a sink (markup, mentions, headers) is escaped by that sink.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from dispatcher.runner.redact import Secrets

LINE_LIMIT = 200
"""Characters of a line that is a name or a title."""

DETAIL_LIMIT = 1_000
OUTPUT_LIMIT = 500

SHORTEST = 8
"""Bytes of the shortest secret that is redacted: a shorter one would match ordinary words."""

_INVISIBLE = frozenset({"Cf", "Co", "Cs", "Cn"})
"""Unicode's categories of characters that are invisible or change how other text is displayed."""


class Cleaner:
    """Cleans texts before they leave this machine. Thread-safe.

    Args:
        secrets: values to redact, by the name that is shown instead.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = Secrets(
            {name: v.encode() for name, v in secrets.items() if len(v.encode()) >= SHORTEST}
        )

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
        shown = "".join(_visible(c) for c in self._redacted(text))
        return self._redacted(shown)

    def _redacted(self, text: str) -> str:
        return self._secrets.redact_text(text) if self._secrets else text


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    category = unicodedata.category(character)
    if category in ("Zl", "Zp", "Cc"):
        return " "
    return "" if category in _INVISIBLE else character


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "\u2026"
