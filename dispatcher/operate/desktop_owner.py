"""Whose a desktop is: of the person who wrote the action that created it.

The signed result names the action's content and the head of the branch when its run was decided. Nobody can
change the history of that commit any more. If all commits in it that ever touched the action's file have one
author, by the e-mail address, the desktop is theirs. If they have several, also if one only changed the file
and back, or its mode, or if the commit is gone, it is nobody's.

An author's name and address are what the author's git wrote: a person can make a desktop that seems to
be somebody else's, but not make somebody else's desktop theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.loop.inventory import InventoryEntry
from dispatcher.loop.verifying import Verifier
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH
from dispatcher.model.result import RESULT_LIMIT, Result
from dispatcher.ops_repo import OpsRepo


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who created a desktop.

    Attributes:
        name, address: of the author of the commit; the e-mail address in lower case.
    """

    name: str
    address: str


def owner_of(entry: InventoryEntry, repo: OpsRepo, commit: str, verifier: Verifier) -> Owner | None:
    """The owner of a desktop; None if it is nobody's.

    Args:
        entry: of the inventory, believed.
        commit: where results are looked for.

    Raises:
        Unavailable, Denied, Misconfigured: see ``Verifier.ours``.
    """
    result = _result_of(entry.id, repo, commit, verifier)
    if result is None or not result.commit or not repo.has_commit(result.commit):
        return None
    return author_at(entry.id, result.blob, repo, result.commit)


def author_at(action_id: str, blob: str, repo: OpsRepo, commit: str) -> Owner | None:
    """Who wrote an action, which has this content at a commit; None if nobody, or if its file was ever changed
    by several.
    """
    path = f"{ACTIONS_PATH}/{action_id}{ACTION_ENDING}"
    if repo.blob_at(commit, path) != blob:
        return None
    info = repo.sole_author(commit, path)
    if info is None:
        return None
    address = info.author_email.strip().lower()
    return Owner(name=info.author_name.strip()[:100], address=address) if address else None


def _result_of(action_id: str, repo: OpsRepo, commit: str, verifier: Verifier) -> Result | None:
    """The signed result of the action that created it."""
    path = repo.tree_of(commit, action_id).result_path(action_id)
    data = repo.read_file(commit, path, limit=RESULT_LIMIT) if path is not None else None
    if not isinstance(data, bytes) or not verifier.ours(data, action_id=action_id, blob=None):
        return None
    try:
        return Result.model_validate_json(data)
    except ValueError:
        return None
