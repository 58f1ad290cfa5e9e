"""Text of others without what could steer a terminal. Imports little."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that could move the cursor or turn the reading direction, and surrogates, which no
output can encode: what we show was written by others. Line feeds and tabs stay."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def clean(text: str) -> str:
    """Text without control characters, except our own colours."""
    if text.isprintable():
        return text
    return "".join(
        piece if COLOUR.fullmatch(piece) else CONTROL.sub("\ufffd", piece)
        for piece in re.split(f"({COLOUR.pattern})", text)
    )
