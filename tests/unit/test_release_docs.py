"""What docs/releases.md has operators run exists."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "releases.md"


def bootstrap() -> list[str]:
    """The lines that bring up a fresh machine."""
    section = DOCS.read_text().partition("## A new machine\n")[2]
    return section.split("```")[1].strip().splitlines()


def test_a_new_machine_takes_five_lines() -> None:
    lines = bootstrap()
    assert len(lines) == 5
    assert "disinto release install --app shop --yes" in lines[3]
