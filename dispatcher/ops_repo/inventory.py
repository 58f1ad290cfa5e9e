"""Reads the inventory's files, and what commits say about it. Who wrote either is for others to check."""

from __future__ import annotations

import re
from itertools import islice

from dispatcher.model.inventory_entry import ENTRY_ENDING, INVENTORY_PATH
from dispatcher.model.names import is_id
from dispatcher.model.paths import RESULT_ENDING
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.levels import children
from dispatcher.ops_repo.records import Entry
from dispatcher.ops_repo.tree_diff import compared, empty_tree
from dispatcher.ops_repo.versions import versions

MESSAGE_CLAIMS = 1_000
"""What one message may claim: no commit of ours brings more results."""

_CHANGE = re.compile(
    rb"^Inventory: ([a-z0-9][a-z0-9_-]{0,99}) (?:creates|updates|destroys) "
    rb"([a-z0-9][a-z0-9_-]{0,99})/([a-z0-9][a-z0-9_-]{0,99})$",
    re.MULTILINE,
)

_NAMING = "--grep=^Inventory: [a-z0-9_-]* [cud]"

Named = tuple[str, str]
"""Kind and id of an entry."""


def entries(clone: Clone, commit: str) -> dict[Named, Entry]:
    """Every file of the inventory whose name is an id; only two levels are read."""
    top = children(clone, commit, [INVENTORY_PATH])
    names = {path.rpartition("/")[2]: entry.oid for path, entry in top.items() if entry.directory}
    kinds = {name: (empty_tree(commit), oid) for name, oid in names.items() if is_id(name)}
    # Not by path: git would compare each of many directories with each of their names.
    files = compared(clone, kinds.values())
    found: dict[Named, Entry] = {}
    for kind, pair in kinds.items():
        for each in files.get(pair, ()):
            stem = each.name.removesuffix(ENTRY_ENDING)
            if stem != each.name and is_id(stem) and each.new is not None:
                found[kind, stem] = each.new
    return found


def changes(clone: Clone, commit: str, *, since: str = "") -> dict[Named, dict[str, None]]:
    """By entry the ids of results that commits of the history claim to have changed it. Anybody can
    write such a message, and nobody can take one of ours away without rewriting the history. Of one
    message the first ``MESSAGE_CLAIMS`` count.

    Args:
        since: a commit whose history is left out; "" for none.
    """
    done = clone.git.run(
        clone.path, "log", "-z", "--format=%B", _NAMING, commit, *([f"^{since}"] if since else [])
    )
    found: dict[Named, dict[str, None]] = {}
    for message in done.out.split(b"\0"):
        for claim in islice(_CHANGE.finditer(message), MESSAGE_CLAIMS):
            result, kind, entry = map(bytes.decode, claim.groups())
            found.setdefault((kind, entry), {})[result] = None
    return found


def result_versions(clone: Clone, commit: str, *, since: str = "") -> dict[str, dict[str, None]]:
    """The blobs (hex) of results that the commits brought that name a change of the inventory, the oldest
    first, by the id in the file's name. Nobody can take one away without rewriting the history.

    Args:
        since: as of ``changes``.
    """
    revisions = [_NAMING, commit, *([f"^{since}"] if since else [])]
    return versions(clone, revisions, RESULT_ENDING)
