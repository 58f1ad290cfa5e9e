"""The docstring of a large package is its map: it names every module, so that one finds the place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dispatcher"
MAPPED = (
    "trace",
    "attestation",
    "decide",
    "desktop",
    "engines/nomad",
    "forge",
    "gate",
    "ledger",
    "loop",
    "loop/effects",
    "model",
    "operate",
    "ops_repo",
    "page",
    "page/pages",
    "provision",
    "release",
    "schemas",
    "sidecar",
    "sources",
    "stack",
    "status",
    "vault",
)


@pytest.mark.parametrize("name", MAPPED)
def test_a_map_names_every_module(name: str) -> None:
    directory = PACKAGE / name
    docstring = ast.get_docstring(ast.parse((directory / "__init__.py").read_text("utf-8"))) or ""
    named = set(re.findall(r"``(\w+)``", docstring))
    modules = {p.stem for p in directory.glob("*.py")} - {"__init__"}
    modules |= {p.parent.name for p in directory.glob("*/__init__.py")}
    assert not modules - named, f"name them in the docstring of dispatcher/{name}/__init__.py"
