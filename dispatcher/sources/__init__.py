"""Sources: what starts actions by itself. A source never runs anything: what it wants becomes an action
file in git, which is approved and run like every other.

* ``base``: the interface, and what a source sees when it is asked
* ``schedules``: one action per slot of a cron expression
* ``slot_ids``, ``id_code``: their ids, which nobody can guess
* ``slot_action``: problems of what a schedule would write
* ``text``: the file of an action that a source wants

The loop asks the sources, signs the files and pushes them (``dispatcher.loop.sources``); the gate
recognizes the signature (``dispatcher.gate.sourced``). How to add a source: ``docs/design.md``.
"""

from dispatcher.sources.base import (
    Look,
    Passed,
    Source,
    SourceNote,
    SourceState,
    Wanted,
    Wants,
    WrittenRun,
)
from dispatcher.sources.text import action_text, problems_of

__all__ = [
    "Look",
    "Passed",
    "Source",
    "SourceNote",
    "SourceState",
    "Wanted",
    "Wants",
    "WrittenRun",
    "action_text",
    "problems_of",
]
