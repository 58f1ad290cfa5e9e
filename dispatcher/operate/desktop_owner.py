"""Whose a desktop is: of the person who wrote the action that created it.

The signed result names the action's content and the head of the branch when its run was decided. Nobody can
change the history of that commit any more. If all commits in it that ever touched the action's file have one
author, by the e-mail address, the desktop is theirs. If they have several, also if one only changed the file
and back, or its mode, or if the commit is gone, it has no owner.

An author's name and address are what the author's git wrote: a person can make a desktop that seems to
be somebody else's, but not make somebody else's desktop theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.loop.inventory import InventoryEntry, InventoryReader
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH
from dispatcher.ops_repo import OpsRepo, Tree


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who created a desktop.

    Attributes:
        name, address: of the author of the commit; the e-mail address in lower case.
    """

    name: str
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The action that created a desktop, as its signed result names it.

    Attributes:
        action_id: its id, which is the desktop's.
        blob: hash (hex) of its file.
        commit: hash (hex) of the head of the branch when its run was decided; the clone has it.
    """

    action_id: str
    blob: str
    commit: str


def origin_of(
    entry: InventoryEntry, repo: OpsRepo, tree: Tree, reader: InventoryReader
) -> Origin | None:
    """Where a desktop comes from, whatever became of the result's file since; None if that is not known now,
    which may change.

    Args:
        entry: of the inventory, believed.
        tree: at the commit where results are looked for.

    Raises:
        Unavailable, Denied: our key is in Vault and cannot be read.
    """
    fact = reader.said(tree, entry.id) if reader.verifies else None
    if fact is None or not fact.commit or not repo.has_commit(fact.commit):
        return None
    return Origin(action_id=entry.id, blob=fact.action_blob, commit=fact.commit)


def owner_of(origin: Origin, repo: OpsRepo) -> Owner | None:
    """Who wrote the action; None if its file was ever changed by several, or is not there. Never changes."""
    path = f"{ACTIONS_PATH}/{origin.action_id}{ACTION_ENDING}"
    if repo.blob_at(origin.commit, path) != origin.blob:
        return None
    info = repo.sole_author(origin.commit, path)
    if info is None:
        return None
    address = info.author_email.strip().lower()
    return Owner(name=info.author_name.strip()[:100], address=address) if address else None
