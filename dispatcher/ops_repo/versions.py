"""What the files of actions and results once were, by the history: nobody who may only push can take that
away.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.model.names import is_id
from dispatcher.model.paths import ACTIONS_PATH
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.history import changes


def versions(clone: Clone, revisions: Sequence[str], ending: str) -> dict[str, dict[str, None]]:
    """The blobs (hex) that commits brought to the directory of actions, the oldest first, by the id in the
    file's name.

    Args:
        revisions: as ``git rev-list`` takes them.
        ending: of the files' names.
    """
    found: dict[str, dict[str, None]] = {}
    for change in reversed(list(changes(clone, revisions, [ACTIONS_PATH]))):
        name, new = change.difference.name, change.difference.new
        action_id = name.removesuffix(ending)
        if action_id != name and is_id(action_id) and new is not None and new.regular:
            found.setdefault(action_id, {})[new.oid] = None
    return found
