"""The genuine file of an entry of the inventory, for the gate, whatever its file in git shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.loop.foreign import InGit, in_git
from dispatcher.loop.kept_results import kept_by
from dispatcher.model.inventory_entry import named_by

if TYPE_CHECKING:
    from dispatcher.ledger.base import Ledger
    from dispatcher.loop.inventory import InventoryReader
    from dispatcher.ops_repo import OpsRepo


class InventoryFiles:
    """See ``dispatcher.gate.sourced.Entries``. Thread-safe.

    Args:
        repo: the ops repo.
        reader: of the inventory.
        ledger: has the results whose files somebody changed or removed.
    """

    def __init__(self, repo: OpsRepo, reader: InventoryReader, ledger: Ledger) -> None:
        self._repo, self._reader, self._ledger = repo, reader, ledger

    def genuine(self, commit: str, path: str) -> tuple[str, bytes] | None:
        """See ``Entries``.

        Raises:
            Unavailable, Denied: our key is in Vault and cannot be read, or the ledger is needed.
        """
        named = named_by(path)
        if named is None:
            return None

        def locate(action_id: str) -> InGit | None:
            return in_git(self._repo.tree_of(commit, action_id), action_id)

        standing = self._reader.standing(commit, locate, named, kept=kept_by(self._ledger))
        if standing.ended_by:
            return "", b""
        written = standing.written
        return (written.blob, written.file.encode()) if written else None
