"""Commands that a living ``serve`` with the same settings answers: it sends what they print.

``serve`` has everything loaded that such a command would have to load, which takes most of its time.
So this imports little, and click not at all: it knows the plain forms of the commands that people
type most, and leaves every other to click. ``answers`` is the other side; the rows and their layout
are made there, by the code that every command uses.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # ``typing`` takes long to load
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

OPTIONS: Mapping[str, Mapping[str, str]] = {
    "status": {"--json": "json", "-n": "last", "--last": "last"},
    "plan": {"--json": "json"},
    "logs": {"--tail": "lines", "-f": "follow", "--follow": "follow"},
}
"""Options of the commands that are answered, and what ``serve`` is told of each."""

NUMBERS = ("last", "lines")

IDS: Mapping[str, Sequence[int]] = {"status": (0, 1), "plan": (0,), "logs": (1,)}
"""How many ids a command takes."""

ANSWERS: Mapping[str, set[str]] = {
    "status": {"text"},
    "plan": {"text"},
    "logs": {"files", "end", "source"},
}
"""The keys of each answer; one with others is of another version."""

DIGITS = 9
"""Maximum of a number's digits."""

LIST_S = 2.0
"""Seconds that ``status`` waits for its list, which is in the status file too."""


class Asked:
    """What a command line asks.

    Attributes:
        command: its name.
        config: the settings file that it names, or None.
        coloured: False if it or the environment forbids colours.
        about: what ``serve`` is told: ``id`` and the values of ``OPTIONS``.
    """

    def __init__(self) -> None:
        self.command = ""
        self.config: str | None = None
        self.coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.about: dict[str, Any] = {}


def answered(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Print what a living ``serve`` answers to this command line.

    Returns:
        False if none does, and nothing was printed: then the command finds out by itself.

    Raises:
        OSError: printing failed.
    """
    asked = parsed(arguments)
    if asked is None or not all((sys.stdout, sys.stderr)):  # a stream that is closed
        return False
    answer = _answer(asked, environ)
    if answer is None:
        return False
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    if asked.command == "logs":
        from dispatcher.cli.run_output import show

        return show(answer, lines=asked.about.get("lines"), coloured=asked.coloured)
    sys.stdout.write(answer["text"])
    sys.stdout.flush()
    return True


def parsed(arguments: Sequence[str]) -> Asked | None:
    """What a command line asks; None if click has to read it: another command, another option, or
    anything wrong with it.
    """
    asked, ids = Asked(), list[str]()
    words = iter(arguments)
    for word in words:
        known = OPTIONS.get(asked.command, {})
        if word == "--config":
            asked.config = next(words, "")
            if not asked.config:
                return None
        elif word in known:
            value = _value(known[word], words)
            if value is None:
                return None
            asked.about[known[word]] = value
        elif word == "--no-color" and not asked.command:
            asked.coloured = False
        elif word.startswith("-") or not word:
            return None
        elif asked.command:
            ids.append(word)
        else:
            asked.command = word
    if len(ids) not in IDS.get(asked.command, ()):
        return None
    asked.about["id"] = "".join(ids)
    return asked


def _value(name: str, words: Iterator[str]) -> int | None:
    if name not in NUMBERS:
        return True
    word = next(words, "")
    return int(word) if word.isascii() and word.isdigit() and len(word) <= DIGITS else None


def _answer(asked: Asked, environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The answer of a ``serve`` with the same settings, if there is one."""
    from dispatcher.cli.terminal import screen
    from dispatcher.settings_digest import is_same
    from dispatcher.settings_file import Misplaced, locate, state_directory
    from dispatcher.status.asking import ANSWER_S, ask

    try:
        directory = state_directory(asked.config, environ)
        if directory is None:
            return None
        about = {**asked.about, "screen": screen(coloured=asked.coloured)}
        listed = asked.command == "status" and not asked.about["id"]
        within_s = LIST_S if listed else ANSWER_S
        reply = ask(directory, asked.command, about, within_s=within_s)
        file = locate(asked.config, environ, folder=os.getcwd())
        if reply is None or not is_same(reply["origin"], file, environ):
            return None
    except (Misplaced, OSError, KeyError, TypeError):
        return None  # the command reports it
    answer: Mapping[str, Any] = reply["answer"]
    return answer if set(answer) == ANSWERS[asked.command] else None
