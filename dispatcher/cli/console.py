"""Output of commands: lines, JSON and times, plain unless on a terminal."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from typing import IO, TYPE_CHECKING

import click

from dispatcher.model.verdicts import Verdict

if TYPE_CHECKING:
    from rich.console import Console

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that could move the cursor or turn the reading direction, and surrogates, which no
output can encode: what we show was written by others. Line feeds and tabs stay."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def emit(data: object) -> None:
    """Print data as JSON."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    # A surrogate (a byte of a path that is not UTF-8) becomes \\udcXX, as JSON writes it.
    click.echo(text.encode("utf-8", "backslashreplace").decode())


def say(text: str = "") -> None:
    """Print a line of the result."""
    click.echo(clean(text))


def note(text: str) -> None:
    """Print a note that is not part of the result."""
    click.echo(clean(text), err=True)


def clean(text: str) -> str:
    """Text without control characters, except our own colours."""
    return "".join(
        piece if COLOUR.fullmatch(piece) else CONTROL.sub("\ufffd", piece)
        for piece in re.split(f"({COLOUR.pattern})", text)
    )


def interactive(stream: IO[str] | None = None) -> bool:
    """Whether this stream (stdout if None) is a capable terminal."""
    stream = stream or sys.stdout
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def rich_console(*, stderr: bool = False) -> Console:
    """A rich console on stdout or stderr."""
    from rich.console import Console

    return Console(
        stderr=stderr, highlight=False, markup=False, emoji=False, no_color=not coloured()
    )


def coloured() -> bool:
    """Whether colours are wanted, by ``--no-color`` and NO_COLOR; evaluated on the command's
    thread."""
    context = click.get_current_context(silent=True)
    if context is not None and context.color is False:
        return False
    return not os.environ.get("NO_COLOR")


STYLES: dict[str, str] = {
    **{verdict.value: verdict.colour for verdict in Verdict},
    "ok": "green",
    "up": "green",
    "running": "cyan",
    "down": "red",
    "wrong": "red",
    "waiting": "yellow",
}
"""Colours of the words that tables show."""


def styled(text: str, style: str) -> str:
    """A word in a colour, for ``say``; click drops it unless stdout is a terminal."""
    return click.style(text, fg=style)


def confirmed(question: str, *, to: str = "go ahead") -> bool:
    """Whether the person at the terminal says yes.

    Args:
        to: what ``--yes`` is for, if there is nobody to ask.

    Raises:
        click.UsageError: stdin is not a terminal.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"stdin is not a terminal; pass --yes to {to}.")
    return click.confirm(question, err=True)


def person() -> str:
    """The calling user: the login, or the uid if it has no name."""
    import getpass  # few commands need it, and every press of TAB imports this module

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"


def ago(at: float, *, now: float | None = None) -> str:
    """How long ago, in the largest unit that fits: ``12 s``, ``3 min``, ``5 h``, ``2 d``."""
    seconds = max(0.0, (time.time() if now is None else now) - at)
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86_400)} d"
