"""A parsed TOML file, with line and column of each key for error messages.

``tomli`` parses; tree-sitter's TOML grammar finds places only if there is a problem to report, so the
common case pays nothing for it.

This module handles TOML only, not the meaning of a file. It never raises because of a file's content:
a file that is not valid TOML has ``problems``, each with its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import tomli

from dispatcher.errors import Problem
from dispatcher.toml.places import Place, Places, character_column

KeyPath = tuple[str | int, ...]
"""The way to a value: keys of tables and, from 0, indexes of arrays."""

_SHOWN_PARTS = 8
_ENCODE = "Save the file as UTF-8 text"
_HUGE_INTEGER = re.compile(rb"[0-9][0-9_]{4000,}")


@dataclass(frozen=True, kw_only=True)
class TomlSource:
    """A TOML text, parsed, with the place of each of its keys.

    Attributes:
        path: the file as the user named it, for messages.
        raw: its bytes.
        data: the parsed values; empty if there are problems.
        problems: why it is not valid TOML; empty for a valid file.
    """

    path: str
    raw: bytes = field(repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()

    @classmethod
    def parse(cls, raw: bytes, *, path: str, limit: int | None = None) -> TomlSource:
        """Parse bytes; errors are returned as ``problems``.

        Args:
            raw: the file's bytes.
            path: the file as messages name it.
            limit: maximum bytes; a larger file is not parsed.
        """
        source = cls(path=path, raw=raw)
        if limit is not None and len(raw) > limit:
            return cls(path=path, raw=b"", problems=(too_large(path, len(raw), limit),))
        problem = _undecodable(source)
        if problem is not None:
            return cls(path=path, raw=raw, problems=(problem,))
        try:
            return cls(path=path, raw=raw, data=tomli.loads(raw.decode()))
        except tomli.TOMLDecodeError as error:
            problem = _not_toml(source, error)
        except RecursionError:
            problem = source.at(_most_nested_line(raw), 1, "the nesting is too deep")
        except (ValueError, OverflowError):
            problem = _unreadable_number(source)
        return cls(path=path, raw=raw, problems=(problem,))

    @cached_property
    def _places(self) -> Places:
        return Places.of(self.raw)

    def locate(self, path: KeyPath, *, key: bool = False) -> Place:
        """Line and column (from 1) of a value, or of its key with ``key=True``.

        A path that the file lacks gets the place of its nearest enclosing value, or 1:1 if there is
        none.
        """
        return self._places.find(path, key=key)

    def at(
        self,
        line: int,
        column: int,
        message: str,
        *,
        remedy: str | None = None,
        name: str | None = None,
    ) -> Problem:
        """A problem at a known place."""
        return Problem(
            message=message, path=self.path, line=line, column=column, field=name, remedy=remedy
        )

    def problem(
        self, message: str, path: KeyPath = (), *, remedy: str | None = None, key: bool = False
    ) -> Problem:
        """A problem at the place of ``path``; of the whole file, at line 1, for ``()``."""
        line, column = self.locate(path, key=key)
        return self.at(line, column, message, remedy=remedy, name=dotted(path) or None)


def dotted(path: KeyPath) -> str:
    """A path as people write it: ``local.mounts.ssh``, ``secrets[1]``. Truncated if very long."""
    text = ""
    for part in path[:_SHOWN_PARTS]:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", part) else quoted(part)
            text += f".{shown}" if text else shown
    return text if len(path) <= _SHOWN_PARTS else f"{text}…"


def quoted(text: str, *, limit: int = 60) -> str:
    """Text in double quotes for a message: one line, printable, cut at ``limit`` characters."""
    cut = text if len(text) <= limit else text[:limit]
    shown = "".join(
        "\\" + c if c in '"\\' else c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in cut
    )
    return f'"{shown}"' if cut is text else f'"{shown}…"'


def too_large(path: str, size: int, limit: int) -> Problem:
    """The problem of a file of ``size`` bytes if only ``limit`` are allowed."""
    return Problem(
        message=f"the file has {size:,} bytes, more than the {limit:,} allowed",
        path=path,
        line=1,
        column=1,
        remedy="Make it shorter, or keep large data elsewhere and give its path",
    )


def _undecodable(source: TomlSource) -> Problem | None:
    raw = source.raw
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return source.at(1, 1, "the file is UTF-16, not UTF-8", remedy=_ENCODE)
    if raw.startswith(b"\xef\xbb\xbf"):
        what = "the file begins with a byte order mark"
        return source.at(1, 1, what, remedy="Save it as UTF-8 without a byte order mark")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        line, column = _place_of_offset(raw, error.start)
        what = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        return source.at(line, column, what, remedy=_ENCODE)
    nul = raw.find(0)
    if nul >= 0:
        line, column = _place_of_offset(raw, nul)
        return source.at(line, column, "the file contains a NUL byte", remedy=_ENCODE)
    return None


def _place_of_offset(raw: bytes, offset: int) -> Place:
    start = raw.rfind(b"\n", 0, offset) + 1
    return raw.count(b"\n", 0, offset) + 1, character_column(raw[start:offset])


def _not_toml(source: TomlSource, error: tomli.TOMLDecodeError) -> Problem:
    """tomli's error; for a duplicate key with the places of both."""
    if "twice" in error.msg or "overwrite" in error.msg or "Duplicate" in error.msg:
        duplicate = source._places.duplicate
        if duplicate is not None:
            path, (first_line, _), (line, column) = duplicate
            return source.at(
                line,
                column,
                f"{dotted(path)} is given twice",
                remedy=f"It is already set in line {first_line}; remove one of them",
                name=dotted(path),
            )
    message = error.msg[:1].lower() + error.msg[1:200]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    return source.at(
        max(error.lineno, 1), max(error.colno, 1), f"this is not TOML: {shown}", remedy=_hint(error)
    )


def _hint(error: tomli.TOMLDecodeError) -> str | None:
    if error.msg == "Invalid value":
        return "Text goes in double quotes; a list in square brackets"
    if error.msg in ("Unterminated string", "Illegal character '\\n'"):
        return 'Close the quotes; text of several lines goes between """ and """'
    if error.msg == "Invalid statement":
        return "A line reads key = value or [table]"
    return None


def _most_nested_line(raw: bytes) -> int:
    lines = raw.split(b"\n")
    depths = [sum(map(line.count, (b"[", b"{", b"."))) for line in lines]
    return depths.index(max(depths)) + 1


def _unreadable_number(source: TomlSource) -> Problem:
    match = _HUGE_INTEGER.search(source.raw)
    line, column = _place_of_offset(source.raw, match.start() if match else 0)
    what = "the number is too large" if match else "a number or date cannot be read"
    return source.at(line, column, what, remedy="TOML integers have 64 bits")
