"""Tables for people: folded to the terminal's width, never cut; plain columns into a pipe.

A first cell that is too wide for its column, such as a long id, has a line of its own: it is
copied whole from any terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from unicodedata import east_asian_width

import click

from dispatcher.cli import console
from dispatcher.cli.screen import Screen

GAP = 2
"""Columns between two cells."""

WIDEST = 24
"""Columns of a cell that is neither first nor last; what is wider folds."""

LAST = 28
"""Minimum columns of the last cell before a first cell that is too wide moves to its own line."""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 0) -> None:
    """Print a table. Every row has as many cells as there are columns."""
    if lines := table_lines(columns, rows, Screen.here(), indent=indent):
        click.echo("\n".join(lines))


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], screen: Screen, *, indent: int = 0
) -> list[str]:
    """The lines of a table; none if it has no rows."""
    if not rows:
        return []
    cells = [[console.clean(cell) for cell in row] for row in rows]
    if screen.terminal:
        lines = folded(columns, cells, width=screen.columns - indent)
        return [" " * indent + line if line else "" for line in lines]
    plain = [[cell.replace("\n", "; ") for cell in row] for row in (columns, *cells)]
    widths = [max(len(row[i]) for row in plain) for i in range(len(columns))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in plain
    )
    return [" " * indent + line.rstrip() for line in padded]


def folded(columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int) -> list[str]:
    """The lines of a table for a terminal of this many columns, words of ``STYLES`` in colour.

    No line is wider than the terminal, but for a first cell on a line of its own.
    """
    *fixed, last = _widths(columns, rows, width)
    lines = _row(columns, columns, [*fixed, last], bold=True)
    for row in rows:
        lines += _row(row, columns, [*fixed, last])
    return lines


def fold(text: str, width: int) -> list[str]:
    """Text in lines of at most this many columns, broken between words if it can be."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and columns_of(line) + 1 + columns_of(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
            while columns_of(line) > width:
                head = _head(line, width)
                lines.append(head)
                line = line[len(head) :]
        lines.append(line)
    return lines


def columns_of(text: str) -> int:
    """Columns that text takes on a terminal."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def _head(text: str, width: int) -> str:
    """As much of the beginning as fits, at least one character."""
    taken = 0
    for i, character in enumerate(text):
        taken += columns_of(character)
        if taken > width:
            return text[: max(i, 1)]
    return text


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    every = [columns, *rows]
    natural = [max(columns_of(row[i]) for row in every) for i in range(len(columns))]
    middle = [min(each, WIDEST) for each in natural[1:-1]]
    taken = sum(middle) + GAP * (len(columns) - 1)
    last = min(natural[-1], LAST) if len(columns) > 1 else 0
    available = max(width - taken - last, columns_of(columns[0]))
    first = max(
        (columns_of(row[0]) for row in every if columns_of(row[0]) <= available), default=available
    )
    if len(columns) == 1:
        return [first]
    return [first, *middle, max(width - taken - first, 8)]


def _row(
    row: Sequence[str], columns: Sequence[str], widths: Sequence[int], *, bold: bool = False
) -> list[str]:
    """The lines of one row."""
    first, rest = row[0], list(row[1:])
    lines = []
    if columns_of(first) > widths[0]:
        lines.append(first)
        first = ""
    parts = [[first], *(fold(c, w) for c, w in zip(rest, widths[1:], strict=True))]
    if not lines or any(row[1:]):
        for pieces in zip_longest(*parts, fillvalue=""):
            cells = [
                _styled(piece, cell, column, bold=bold) + " " * (width - columns_of(piece))
                for piece, cell, column, width in zip(pieces, row, columns, widths, strict=True)
            ]
            lines.append((" " * GAP).join(cells).rstrip())
    return lines


def _styled(piece: str, cell: str, column: str, *, bold: bool) -> str:
    """A piece of a cell in the colour of the cell's status word; other text has none."""
    if not piece:
        return piece
    if bold:
        return click.style(piece, bold=True)
    colour = console.STYLES.get(cell) if column in STYLED else None
    return click.style(piece, fg=colour) if colour else piece


STYLED = frozenset({"STATE", "VERDICT", "STEP"})
"""Columns whose status words have colours."""
