"""Finds places that list mounts or verdicts on their own, instead of deriving them from the entries."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dispatcher.model.mounts import Mount
from dispatcher.model.verdicts import Verdict

NEAR = 12
"""Lines within which names of verdicts make a list; they are common words."""

BLOCKS = 30
"""The same for mounts, each of which may have a block of its own."""

BEGIN = re.compile(r" ([a-z ]+): rendered by make docs\b")
_WORD = re.compile(r"[a-z0-9.][a-z0-9./-]*[a-z0-9]")


def vocabularies() -> dict[str, tuple[frozenset[str], int, int]]:
    """What is looked for: the words, how many of them make a list, and within how many lines."""
    places = frozenset(_plain(mount.place) for mount in Mount)
    return {
        "verdicts": (frozenset(map(_plain, Verdict)), len(Verdict) - 2, NEAR),
        "mounts": (frozenset(map(_plain, Mount)), len(Mount) - 1, BLOCKS),
        "places of mounts": (places, len(Mount) - 1, BLOCKS),
    }


def lists_in_text(text: str) -> Iterator[str]:
    """What a text lists outside its generated parts, with the first line of it."""
    lines = [_words(line) for line in _hand_written(text.splitlines())]
    for what, (words, enough, near) in vocabularies().items():
        at = {number: named for number, line in enumerate(lines) if (named := line & words)}
        for start in at:
            named = {w for n in range(start, start + near) for w in at.get(n, ())}
            if len(named) >= enough:
                yield f"{what} from line {start + 1}: {', '.join(sorted(named))}"
                break


def _hand_written(lines: Iterable[str]) -> Iterator[str]:
    """The lines, those of generated parts empty."""
    end = ""
    for line in lines:
        if begin := BEGIN.search(line):
            end = f" end of {begin[1]}"
        yield "" if end else line
        if end and end in line:
            end = ""


def _words(line: str) -> frozenset[str]:
    return frozenset(_WORD.findall(_plain(line.replace("Mount.", " ").replace("Verdict.", " "))))


def lists_in_code(source: str) -> Iterator[str]:
    """Literals and patterns of Python code that name three or more of the verdicts or mounts."""
    for node in ast.walk(ast.parse(source)):
        for entries in (Verdict, Mount):
            named = {name for part in _parts(node) if (name := _named(part, entries))}
            if len(named) >= 3:
                yield f"line {getattr(node, 'lineno', 0)}: {', '.join(sorted(named))}"


def _parts(node: ast.AST) -> Iterable[ast.AST | None]:
    match node:
        case ast.Dict(keys=keys):
            return keys
        case ast.Set(elts=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            return parts
        case ast.MatchOr(patterns=patterns):
            return [p.value for p in patterns if isinstance(p, ast.MatchValue)]
        case ast.BoolOp(values=values):
            return [c for v in values if isinstance(v, ast.Compare) for c in v.comparators]
        case _:
            return ()


def _named(node: ast.AST | None, entries: type[Verdict | Mount]) -> str:
    match node:
        case ast.Attribute(value=ast.Name(id=owner), attr=attr) if owner == entries.__name__:
            return entries[attr].value
        case ast.Constant(value=str(text)) if text in set(entries):
            return text
        case _:
            return ""


def _plain(text: str) -> str:
    return text.lower().replace("_", "-")


def listings(root: Path, tracked: Iterable[str]) -> Iterator[str]:
    """Every place below the root that lists mounts or verdicts on its own: file and names."""
    for path in tracked:
        try:
            text = (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = list(lists_in_text(text))
        if path.startswith("dispatcher/") and path.endswith(".py"):
            found += lists_in_code(text)
        yield from (f"{path}: {what}" for what in found)
