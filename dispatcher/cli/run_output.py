"""Prints the output of runs: from the files of an engine, or its end from a result. Imports little."""

from __future__ import annotations

import os
import sys

from dispatcher.cli.clean import COLOUR, clean
from dispatcher.cli.terminal import interactive

TYPE_CHECKING = False  # ``typing`` takes long to load
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, TextIO

PIECE = 64 * 1024


def show(answer: Mapping[str, Any], *, lines: int | None, coloured: bool) -> bool:
    """Print the output of an ended run that ``serve`` has found, as ``answers`` describes it.

    Args:
        lines: the last ones of each stream; None for all.
        coloured: False if colours are forbidden.

    Returns:
        False if its files are gone by now, and nothing was printed.
    """
    some = False
    for name, path in answer["files"].items():
        pieces = _pieces(path)
        for data in pieces if lines is None else _tail(pieces, lines):
            some = True
            write(sys.stdout if name == "stdout" else sys.stderr, data)
    if answer["files"] and not some:
        return False
    if not answer["files"]:
        show_end(answer["end"], lines=lines, coloured=coloured)
    _print(f"{answer['source']}\n", sys.stderr, coloured=coloured)
    return True


def show_end(end: str, *, lines: int | None, coloured: bool) -> None:
    """Print the end of the output, from a result."""
    if lines is not None:
        data = end.encode("utf-8", "surrogatepass")
        end = last_lines(data, lines).decode("utf-8", "replace")
    if end:
        _print(end if end.endswith("\n") else f"{end}\n", sys.stdout, coloured=coloured)


def write(stream: TextIO, data: bytes) -> None:
    """Print a piece of a log, to a terminal without control characters."""
    if interactive(stream):
        stream.write(clean(data.decode("utf-8", "replace")))
        stream.flush()
        return
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()


def last_lines(data: bytes, lines: int) -> bytes:
    """The end of the data with at most this many lines; one without a newline at its end counts."""
    if not lines:
        return b""
    at = len(data) - data.endswith(b"\n")
    for _ in range(lines):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return data
    return data[at + 1 :]


def _pieces(path: str) -> Iterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with open(descriptor, "rb", buffering=0) as file:
        while data := file.read(PIECE):
            yield data


def _tail(pieces: Iterator[bytes], lines: int) -> Iterator[bytes]:
    """The last lines of what the pieces make together; nothing for no piece."""
    kept, some = b"", False
    for data in pieces:
        kept, some = last_lines(kept + data, lines), True
    if some:
        yield kept


def _print(text: str, stream: TextIO, *, coloured: bool) -> None:
    text = clean(text)
    stream.write(text if coloured and stream.isatty() else COLOUR.sub("", text))
    stream.flush()
