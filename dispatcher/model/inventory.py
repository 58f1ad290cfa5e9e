"""The inventory: what exists because a run created it. Plain data, also for the runner."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Change(StrEnum):
    """What a formula does to one entry of the inventory."""

    CREATES = "creates"
    UPDATES = "updates"
    DESTROYS = "destroys"


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """What the approved schema of a formula declares that a run does to the inventory.

    Attributes:
        change, kind: to one entry of this kind.
        destroyed_by: of what ``creates`` or ``updates``: the formula that destroys it, with ``[params] id``; "" if
            none is named.
    """

    change: Change
    kind: str
    destroyed_by: str = ""


def says_inventory(text: str) -> bool:
    """Whether the text of a result names a change of the inventory. Cheap: texts of JSON contain no
    line ends, so only the result's own key begins a line like this.
    """
    return '\n  "inventory": {' in text
