"""Pages of a list whose entries have any size: what is too large for one response is read in smaller
pages, and an entry that is too large by itself is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from dispatcher.errors import Dependency, Unavailable
from dispatcher.forge.exchange import AnswerTooLarge, Exchange, TooLarge

SIZES = (50, 10, 1)
"""Entries of a page, and of the smaller ones that it is read in if it is too large. Each divides the
one before."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed(Generic[_T]):
    """A page of ``SIZES[0]`` entries, and the number of those that were left out."""

    entries: tuple[_T, ...]
    total: int | None
    at: float | None
    unread: int = 0


def sized(
    http: Exchange,
    path: str,
    of: TypeAdapter[list[_T]],
    number: int,
    params: Mapping[str, object],
    *,
    level: int = 0,
) -> Listed[_T]:
    """One page (from 1) of ``SIZES[level]`` entries, in smaller ones if it is too large."""
    size = SIZES[level]
    try:
        page = http.page(path, of, {**params, "limit": size, "page": number})
    except AnswerTooLarge:
        if level == len(SIZES) - 1:
            return Listed(entries=(), total=None, at=None, unread=1)
        parts = size // SIZES[level + 1]
        first = (number - 1) * parts + 1
        read = []
        for part in range(first, first + parts):
            read.append(sized(http, path, of, part, params, level=level + 1))
            if not read[-1].entries and not read[-1].unread:
                break
        return Listed(
            entries=tuple(entry for part in read for entry in part.entries),
            total=next((part.total for part in read if part.total is not None), None),
            at=next((part.at for part in read if part.at is not None), None),
            unread=sum(part.unread for part in read),
        )
    if page is None:
        raise Unavailable(
            Dependency.FORGE,
            f"the forge answered 404 to GET {path}",
            remedy="Check the repository in sidecars.toml, and that the token may read its issues.",
        )
    return Listed(entries=page.entries, total=page.total, at=page.at)


def all_sized(
    http: Exchange, path: str, of: TypeAdapter[list[_T]], *, most: int, what: str
) -> Iterator[_T]:
    """All entries of a time line, but those that are too large.

    Args:
        what: whose time line it is, for messages.

    Raises:
        TooLarge: the list has more than ``most`` entries.
    """
    for page in range(1, most // SIZES[0] + 1):
        listed = sized(http, path, of, page, {})
        yield from listed.entries
        if not listed.entries and not listed.unread:
            return
    raise TooLarge(f"{what} has more than {most:,} events")
