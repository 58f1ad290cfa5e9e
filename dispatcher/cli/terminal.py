"""What a stream of this process is: a terminal, its width and its colours. Imports little."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # ``typing`` takes long to load
if TYPE_CHECKING:
    from typing import IO

USUAL_COLUMNS = 80


def interactive(stream: IO[str] | None = None) -> bool:
    """Whether this stream (stdout if None) is open and a capable terminal."""
    stream = stream or sys.stdout
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def columns() -> int:
    """Columns of the terminal, as ``shutil`` finds them, which takes longer to load than a table to
    print.
    """
    try:
        named = int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        named = 0
    if named > 0:
        return named
    try:
        assert sys.__stdout__ is not None  # noqa: S101 - an AttributeError, for mypy
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or USUAL_COLUMNS
    except (AssertionError, ValueError, OSError):
        return USUAL_COLUMNS


def screen(*, coloured: bool) -> dict[str, object]:
    """This process's stdout as ``Screen`` describes it, as plain data.

    Args:
        coloured: False if colours are forbidden.
    """
    terminal = interactive()
    return {
        "terminal": terminal,
        "columns": columns(),
        "coloured": terminal and coloured,
    }
