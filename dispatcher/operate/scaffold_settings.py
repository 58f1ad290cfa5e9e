"""Edits the ``disinto.toml`` that ``scaffold`` wrote from the template, and keeps its comments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path


def replace_lines(file: Path, changes: Mapping[str, str]) -> None:
    """Replace whole lines of the template.

    Raises:
        ValueError: the template has no such line.
    """
    text = file.read_text()
    for line, instead in changes.items():
        if f"\n{line}\n" not in text:
            raise ValueError(f"the template of disinto.toml has no line {line}")
        text = text.replace(f"\n{line}\n", f"\n{instead}\n", 1)
    file.write_text(text)


def add_to_table(file: Path, key: str, entries: Mapping[str, str]) -> None:
    """Add strings to an inline table that is commented out in the template, or that has some already.

    Raises:
        ValueError: the template has no such table.
    """
    text = file.read_text()
    found = re.search(rf"^#?{re.escape(key)} = \{{(.*)\}}$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"the template of disinto.toml has no table {key}")
    new = ", ".join(f'{name} = "{value}"' for name, value in entries.items())
    both = ", ".join(part for part in (found[1].strip(), new) if part)
    file.write_text(f"{text[: found.start()]}{key} = {{ {both} }}{text[found.end() :]}")
