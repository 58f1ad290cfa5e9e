"""What docs/releases.md has operators run exists, and its reference is complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dispatcher.release.reference import reference
from dispatcher.release.settings import ReleaseSettings

DOCS = Path(__file__).parents[2] / "docs" / "releases.md"


def bootstrap() -> list[str]:
    """The lines that bring up a fresh machine."""
    section = DOCS.read_text().partition("## A new machine\n")[2]
    return section.split("```")[1].strip().splitlines()


def test_a_new_machine_takes_five_lines() -> None:
    lines = bootstrap()
    assert len(lines) == 5
    assert "disinto release install --app shop --yes" in lines[3]


def test_every_key_is_in_the_reference() -> None:
    """A table has a heading of its own, any other key a row."""
    top, *_ = reference().partition("### `[")
    headings = set(re.findall(r"^### `\[(\w+)", reference(), re.MULTILINE))
    rows = set(re.findall(r"^\| `(\w+)` \|", top, re.MULTILINE))
    properties = ReleaseSettings.model_json_schema()["properties"]
    tables = {name for name, schema in properties.items() if "$ref" in json.dumps(schema)}
    assert headings == tables
    assert rows == set(properties) - tables
