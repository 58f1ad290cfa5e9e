"""Shows what a command would change, before it does."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.cli import console
from dispatcher.model.checks import Change, Step


def show_changes(changes: Sequence[Change]) -> int:
    """Print each difference, and how many things are up to date; returns how many differ."""
    differing = [change for change in changes if change.step is not Step.NOTHING]
    for change in differing:
        console.say(f"{change.step}: {change.kind} {change.name}")
        for line in change.difference:
            colour = {"+": "green", "-": "red"}.get(line[:1])
            console.say(f"    {console.styled(line, colour) if colour else line}")
    same = len(changes) - len(differing)
    console.note(f"{len(differing)} to change, {same} up to date")
    return len(differing)
