"""A screen that is redrawn in place until Ctrl-C, as by ``watch(1)``."""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import NoReturn

import click

from dispatcher.cli.tables import columns_of
from dispatcher.errors import TemporaryError

EVERY_S = 2.0
"""Seconds from one drawing to the next."""

HOME, TO_LINE_END, TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"
ALTERNATE, ORIGINAL = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""The screen beside the one with the shell's lines, without a cursor; and back."""


class _Terminal(io.StringIO):
    """Text that is kept and is meant for a terminal."""

    def isatty(self) -> bool:
        return True


def redraw(show: Callable[[], None], *, sleep: Callable[[float], None] = time.sleep) -> NoReturn:
    """Redraw what ``show`` prints repeatedly. An unavailable server is shown, and retried.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C.
    """
    sys.stdout.write(ALTERNATE)
    try:
        while True:
            size = shutil.get_terminal_size()
            lines = fitting(printed(show).splitlines(), width=size.columns, height=size.lines)
            drawn = "".join(f"{line}{TO_LINE_END}\n" for line in lines[:-1])
            sys.stdout.write(f"{HOME}{drawn}{lines[-1]}{TO_LINE_END}{TO_SCREEN_END}")
            sys.stdout.flush()
            sleep(EVERY_S)
    finally:
        sys.stdout.write(ORIGINAL)
        sys.stdout.flush()


def printed(show: Callable[[], None]) -> str:
    """Its output."""
    with redirect_stdout(_Terminal()) as text:
        try:
            show()
        except TemporaryError as error:
            click.echo(f"cannot be shown right now: {error}")
    return text.getvalue()


def fitting(lines: list[str], *, width: int, height: int) -> list[str]:
    """As many lines as fit the screen; the last then gives the number of omitted ones."""
    left = height
    for shown, line in enumerate(lines):
        left -= max(1, -(-columns_of(click.unstyle(line)) // width))
        if left < (shown < len(lines) - 1):
            return [*lines[:shown], f"… and {len(lines) - shown} more lines"]
    return lines or [""]
