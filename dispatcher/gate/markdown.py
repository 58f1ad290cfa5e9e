"""Renders Markdown for the forge from the templates in ``actions/``."""

from __future__ import annotations

import re

import jinja2

from dispatcher.host import resources

_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    # HTML escaping would break Markdown; the functions below neutralize foreign text.
    autoescape=False,  # noqa: S701
)

_ENTITIES = {c: f"&#{ord(c)};" for c in "\\`*_~[]()<>|&"}
_ENTITIES |= {c: f"&#{ord(c)};\u200b" for c in "@#!:"}
"""Characters that may have a meaning in Markdown; an entity never does. A forge looks for mentions,
references, addresses and emoji once more, when entities are resolved: an invisible character breaks
them up.
"""

_WWW = re.compile(r"(?<=www)\.", re.IGNORECASE)

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that are invisible, or change how text is displayed."""

_REFERENCE = re.compile(r"([@#!])(?=\w)")
_BREAK = "\\1\u200b"


def render(name: str, **values: object) -> str:
    """The text of a template such as ``actions/pull_request.md.j2``, filled in."""
    return _ENVIRONMENT.from_string(resources.text(name)).render(
        values, cell=cell, fence_of=fence_of
    )


def cell(text: str) -> str:
    """A text as one cell of a table, without rows, markup or mentions of its own."""
    flat = " ".join(text.split())
    for special, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("@", "&#64;\u200b")):
        flat = flat.replace(special, entity)
    return flat


def inert(text: str, limit: int) -> str:
    """Untrusted text as part of a cell, without markup, links, mentions or references of its own.

    Args:
        text: any text.
        limit: maximum characters of the result; the text is cut to fit.
    """
    flat = _WWW.sub(".\u200b", " ".join(_CONTROL.sub(" ", text).split()))
    escaped = [_ENTITIES.get(character, character) for character in flat]
    if sum(map(len, escaped)) > limit:
        left = limit - 1
        kept = []
        for part in escaped:
            left -= len(part)
            if left < 0:
                break
            kept.append(part)
        escaped = [*kept, "\u2026"]
    return "".join(escaped)


def indented(text: str, *, lines: int, characters: int) -> str:
    """The end of untrusted text as an indented code block, each line closed by a newline; "" for
    text that shows nothing.

    Nothing can leave such a block: every line begins with the four spaces that make it one, so that
    neither a fence nor HTML can begin or end in it. Mentions and references are broken up by an
    invisible character, because a forge may look for them in code as well.
    """
    shown = [_CONTROL.sub("", line) for line in text[-characters:].splitlines()][-lines:]
    while shown and not shown[0].strip():
        del shown[0]
    while shown and not shown[-1].strip():
        del shown[-1]
    return "".join(f"    {_REFERENCE.sub(_BREAK, line)}".rstrip() + "\n" for line in shown)


def fence_of(text: str) -> str:
    """A fence longer than any run of backticks in the text, so that nothing escapes it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)
