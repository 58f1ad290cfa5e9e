"""Env files, as systemd reads them: ``parse_env_file_internal`` of its ``basic/env-file.c``, version 252.

A value may be quoted, in parts or as a whole, and may have several lines within quotes or by a backslash
at the end of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_SPACE = " \t\n\r"
_LINE_ENDS = "\n\r"
_COMMENT = "#;"
_ESCAPED_IN_QUOTES = '"\\`$'


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One assignment, and the number of its first line, from 1. ``value`` is None without a ``=``."""

    name: str
    value: str | None
    number: int


@dataclass(slots=True)
class _Reader:
    """Goes through a text.

    Attributes:
        at: index of the next character.
    """

    text: str
    at: int = 0
    value: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[Line]:
        while True:
            self._skip(_SPACE)
            if self.at >= len(self.text):
                return
            if self.text[self.at] in _COMMENT:
                self._comment()
                continue
            number = self.text.count("\n", 0, self.at) + 1
            name, assigned = self._name()
            yield Line(name=name, value=self._value() if assigned else None, number=number)

    def _skip(self, what: str) -> None:
        while self.at < len(self.text) and self.text[self.at] in what:
            self.at += 1

    def _next(self) -> str:
        """The next character, "" at the end."""
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return char

    def _comment(self) -> None:
        """To the end of its line; since systemd 254 a backslash there does not continue it."""
        while (char := self._next()) and char not in _LINE_ENDS:
            pass

    def _name(self) -> tuple[str, bool]:
        """Up to ``=``, or else to the end of the line."""
        start = self.at
        self._next()
        while (char := self._next()) and char not in _LINE_ENDS:
            if char == "=":
                return self.text[start : self.at - 1].rstrip(_SPACE), True
        return self.text[start : self.at - 1].rstrip(_SPACE), False

    def _value(self) -> str:
        """The rest of the assignment. White space at the end counts if it is quoted or escaped."""
        self.value, solid, plain = [], 0, False
        while (char := self._next()) and char not in _LINE_ENDS:
            if char in "'\"" and not plain:
                self._single() if char == "'" else self._double()
                solid = len(self.value)
            elif char == "\\":
                self._escaped()
                solid, plain = len(self.value), True
            elif char not in _SPACE or plain:
                self.value.append(char)
                solid = solid if char in _SPACE else len(self.value)
                plain = True
        return "".join(self.value[:solid])

    def _escaped(self) -> None:
        char = self._next()
        if char not in _LINE_ENDS:
            self.value.append(char)

    def _single(self) -> None:
        while (char := self._next()) and char != "'":
            self.value.append(char)

    def _double(self) -> None:
        while (char := self._next()) and char != '"':
            if char != "\\":
                self.value.append(char)
                continue
            char = self._next()
            if char in _ESCAPED_IN_QUOTES:
                self.value.append(char)
            elif char != "\n":
                self.value += ("\\", char)


def lines(text: str) -> Iterator[Line]:
    """The lines of an env file that are neither blank nor comments, with their values."""
    return _Reader(text).lines()


def values(text: str) -> dict[str, str]:
    """The variables of an env file; what is no assignment is skipped, as systemd does."""
    return {
        line.name: line.value
        for line in lines(text)
        if line.value is not None and NAME.fullmatch(line.name)
    }
