"""The files beside a formula that belong to it: its schema, and what it reads."""

from __future__ import annotations

from dispatcher.model.names import is_id

SCHEMA_ENDING = ".schema.json"

FILE_ENDINGS = (".json", ".yaml", ".j2", ".txt")
"""Of files that a formula may read. Not ``.sh`` and ``.toml``: such a file is a formula itself."""


def schema_name(formula: str) -> str:
    """The name of a formula's schema."""
    return f"{formula}{SCHEMA_ENDING}"


def formula_of_schema(name: str) -> str:
    """The formula whose schema has this name; "" if it is no schema's."""
    stem = name.removesuffix(SCHEMA_ENDING)
    return stem if stem != name and is_id(stem) else ""


def is_formula_file(name: str) -> bool:
    """Whether a formula may read a file of this name: an id and one of ``FILE_ENDINGS``."""
    stem, dot, ending = name.rpartition(".")
    return is_id(stem) and dot + ending in FILE_ENDINGS
