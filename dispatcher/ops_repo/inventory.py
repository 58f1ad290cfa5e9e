"""Reads the inventory's files, and what commits say about it. Who wrote either is for others to check."""

from __future__ import annotations

import re

from dispatcher.model.inventory_entry import ENTRY_ENDING, INVENTORY_PATH
from dispatcher.model.names import is_id
from dispatcher.model.paths import RESULT_ENDING
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.levels import children
from dispatcher.ops_repo.records import Entry
from dispatcher.ops_repo.versions import versions

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
    kinds = sorted(path for path, entry in top.items() if entry.directory)
    names = [path.rpartition("/")[2] for path in kinds]
    directories = [f"{INVENTORY_PATH}/{name}" for name in names if is_id(name)]
    files = children(clone, commit, directories) if directories else {}
    found: dict[Named, Entry] = {}
    for path, entry in files.items():
        kind, _, name = path.removeprefix(f"{INVENTORY_PATH}/").partition("/")
        stem = name.removesuffix(ENTRY_ENDING)
        if stem != name and is_id(stem):
            found[kind, stem] = entry
    return found


def changes(clone: Clone, commit: str, *, since: str = "") -> dict[Named, dict[str, None]]:
    """By entry the ids of results that commits of the history claim to have changed it. Anybody can
    write such a message, and nobody can take one of ours away without rewriting the history.

    Args:
        since: a commit whose history is left out; "" for none.
    """
    done = clone.git.run(
        clone.path, "log", "--format=%B", _NAMING, commit, *([f"^{since}"] if since else [])
    )
    found: dict[Named, dict[str, None]] = {}
    for result, kind, entry in _CHANGE.findall(done.out):
        found.setdefault((kind.decode(), entry.decode()), {})[result.decode()] = None
    return found


def result_versions(clone: Clone, commit: str, *, since: str = "") -> dict[str, dict[str, None]]:
    """The blobs (hex) of results that the commits brought that name a change of the inventory, the oldest
    first, by the id in the file's name. Nobody can take one away without rewriting the history.

    Args:
        since: as of ``changes``.
    """
    revisions = [_NAMING, commit, *([f"^{since}"] if since else [])]
    return versions(clone, revisions, RESULT_ENDING)
