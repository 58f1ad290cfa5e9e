"""Markdown for people on the forge, from the templates that are shipped in ``actions/``."""

from __future__ import annotations

import re

import jinja2

from dispatcher import files

_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    # HTML's escaping would spoil Markdown; ``cell`` and ``fence_of`` keep foreign text in its place.
    autoescape=False,  # noqa: S701
)


def render(name: str, **values: object) -> str:
    """The text of a template such as ``actions/pull_request.md.j2``, filled in."""
    return _ENVIRONMENT.from_string(files.text(name)).render(values, cell=cell, fence_of=fence_of)


def cell(text: str) -> str:
    """A text as one cell of a table: no row, markup or mention of its own."""
    flat = " ".join(text.split())
    for special, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("@", "&#64;")):
        flat = flat.replace(special, entity)
    return flat


def fence_of(text: str) -> str:
    """A fence longer than any run of backticks in the text, so that nothing escapes it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)
