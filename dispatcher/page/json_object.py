"""Reads a JSON object from a request, and refuses what later code could fail on. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

MAX_DEPTH = 64
"""Levels of objects and lists, the object itself being the first: what is made of it recurses."""


def read_object(data: bytes) -> dict[str, object]:
    """The object.

    Raises:
        ValueError: it is not a JSON object, has a name twice, has text that is not Unicode or a number that is not
            finite, or is nested too deep.
        RecursionError: it is nested much too deep.
    """
    value = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_unique)
    if not isinstance(value, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - malformed, as all of the above
    _check_depth(value)
    # A lone surrogate such as \ud800 fails, and infinity, which 1e999 becomes.
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object without a name twice: what another program reads of it must be what counts here."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name is given twice")
    return made


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for each in level for item in _items(each)]
        if not level:
            return
    raise ValueError("it is nested too deep")


def _items(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
