"""Finds the places of keys and values in a TOML text, from tree-sitter's syntax tree.

tree-sitter never fails: for a text with errors it returns what it could parse, so at worst a place is
that of the nearest enclosing value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import tomli

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

Place = tuple[int, int]
"""Line and column, both from 1; columns count characters."""

_Path = tuple[str | int, ...]
_KEYS = ("bare_key", "quoted_key", "dotted_key")


@dataclass(kw_only=True)
class Places:
    """The places of the keys and values of one text.

    Attributes:
        keys, values: place by path.
        duplicate: the first key given twice: path, first place, second place.
    """

    raw: bytes
    keys: dict[_Path, Place] = field(default_factory=dict)
    values: dict[_Path, Place] = field(default_factory=dict)
    duplicate: tuple[_Path, Place, Place] | None = None
    _defined: dict[_Path, Place] = field(default_factory=dict)
    _array_lengths: Counter[_Path] = field(default_factory=Counter)

    @classmethod
    def of(cls, raw: bytes) -> Places:
        """Find the places of a text. Takes milliseconds: call it to report problems, not to parse."""
        places = cls(raw=raw)
        root = _parser().parse(raw).root_node
        for node in _through_errors(root):
            places._statement(node)
        return places

    def find(self, path: _Path, *, key: bool = False) -> Place:
        """Place of a value (or key), else of its nearest enclosing value, else 1:1."""
        places = self.keys if key else self.values
        for length in range(len(path), 0, -1):
            part = path[:length]
            place = places.get(part) or self.values.get(part)
            if place is not None:
                return place
        return 1, 1

    def _statement(self, node: Node) -> None:
        if node.type == "pair":
            self._pair(node, ())
        elif node.type in ("table", "table_array_element"):
            self._table(node)

    def _table(self, node: Node) -> None:
        name = next((child for child in node.children if child.type in _KEYS), None)
        if name is None:
            return
        path: _Path = ()
        parts = list(self._key_parts(name))
        for index, (part, place) in enumerate(parts):
            path = (*path, part)
            self.keys.setdefault(path, place)
            self.values.setdefault(path, place)
            last = index == len(parts) - 1
            if not last and self._array_lengths[path]:
                path = (*path, self._array_lengths[path] - 1)
        if not parts:
            return
        if node.type == "table":
            self._define(path, parts[-1][1])
        else:
            path = (*path, self._array_lengths[path])
            self._array_lengths[path[:-1]] += 1
            self.keys[path] = self.values[path] = parts[-1][1]
        for child in _through_errors(node):
            if child.type == "pair":
                self._pair(child, path)

    def _pair(self, pair: Node, holder: _Path) -> None:
        """Enter a pair and all nested values; without recursion, because nesting may be deep."""
        waiting = [(pair, self._named(pair, holder))]
        while waiting:
            node, path = waiting.pop()
            value = _value_of(node) if node.type == "pair" else node
            if path is None or not value.is_named:
                continue
            self.values[path] = self._place(value)
            if value.type == "array":
                items = [c for c in _through_errors(value) if c.is_named and c.type != "comment"]
                waiting += [(item, (*path, index)) for index, item in enumerate(items)]
            elif value.type == "inline_table":
                pairs = [c for c in _through_errors(value) if c.type == "pair"]
                waiting += [(inner, self._named(inner, path)) for inner in pairs]

    def _named(self, pair: Node, holder: _Path) -> _Path | None:
        """The path that a pair gives a value to; its key's place is noted."""
        parts = list(self._key_parts(pair.children[0]))
        path = holder
        for part, place in parts:
            path = (*path, part)
            self.keys.setdefault(path, place)
            self.values.setdefault(path, place)
        if not parts:
            return None
        self._define(path, parts[-1][1])
        return path

    def _define(self, path: _Path, place: Place) -> None:
        first = self._defined.setdefault(path, place)
        if first != place and self.duplicate is None:
            self.duplicate = (path, first, place)

    def _key_parts(self, name: Node) -> Iterator[tuple[str, Place]]:
        """The parts of a key in order; a dotted key nests its left side."""
        waiting = [name]
        while waiting:
            node = waiting.pop()
            if node.type == "dotted_key":
                waiting.extend(reversed([c for c in node.children if c.type in _KEYS]))
            elif node.type in _KEYS:
                yield _key_text(node), self._place(node)

    def _place(self, node: Node) -> Place:
        start = node.start_byte
        line_start = self.raw.rfind(b"\n", 0, start) + 1
        return node.start_point[0] + 1, character_column(self.raw[line_start:start])


def _value_of(pair: Node) -> Node:
    """The last part of a pair; a comment behind it belongs to the pair as well."""
    return next(child for child in reversed(pair.children) if child.type != "comment")


def character_column(before: bytes) -> int:
    """Column, from 1 and in characters, of what follows ``before`` on its line."""
    return len(before.decode(errors="replace")) + 1


def _through_errors(node: Node) -> Iterator[Node]:
    """The children of a node, those inside tree-sitter's ERROR nodes included."""
    waiting = list(reversed(node.children))
    while waiting:
        child = waiting.pop()
        if child.type == "ERROR":
            waiting.extend(reversed(child.children))
        else:
            yield child


def _key_text(node: Node) -> str:
    text = (node.text or b"").decode(errors="replace")
    if node.type == "bare_key":
        return text
    try:
        return str(tomli.loads(f"key = {text}")["key"])
    except (tomli.TOMLDecodeError, RecursionError, ValueError):
        return text


@cache
def _parser() -> Parser:
    from tree_sitter import Language, Parser
    from tree_sitter_toml import language

    return Parser(Language(language()))
