"""Output of commands: lines, JSON and times, plain unless on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from dispatcher.cli.clean import clean
from dispatcher.cli.terminal import interactive
from dispatcher.model.verdicts import Verdict

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "STYLES", "ago", "clean", "coloured", "confirmed", "emit", "interactive", "json_text", "note", "note_edited",
    "person", "printed", "rich_console", "say", "styled",
]  # fmt: skip

NAMED = 10
"""Results that a note names."""


def emit(data: object) -> None:
    """Print data as JSON."""
    click.echo(json_text(data), nl=False)


def json_text(data: object) -> str:
    """Data as JSON, as ``emit`` prints it."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    # A surrogate (a byte of a path that is not UTF-8) becomes \\udcXX, as JSON writes it.
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def say(text: str = "") -> None:
    """Print a line of the result."""
    click.echo(clean(text))


def note(text: str) -> None:
    """Print a note that is not part of the result."""
    click.echo(clean(text), err=True)


def note_edited(action_ids: Sequence[str]) -> None:
    """Name results whose files were edited or removed in git; what they said is shown nevertheless."""
    if action_ids:
        more = f" and {len(action_ids) - NAMED} more" if len(action_ids) > NAMED else ""
        note(
            f"edited or removed in git: the results of {', '.join(action_ids[:NAMED])}{more}; "
            "what they say is taken as it was signed"
        )


def printed(lines: Iterable[str], *, coloured: bool) -> str:
    """What ``say`` prints of these lines."""
    text = "".join(f"{clean(line)}\n" for line in lines)
    return text if coloured else click.unstyle(text)


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
