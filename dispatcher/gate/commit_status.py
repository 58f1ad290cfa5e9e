"""Commit statuses that the dispatcher sets, each once, with as few calls as that takes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from dispatcher.forge.records import Status

DESCRIPTION_LIMIT = 250
"""Characters of a status's description."""

REMEMBERED = 1_000
"""Commits whose statuses are remembered."""


class StatusBoard(Protocol):
    """What of ``dispatcher.forge.ForgeApi`` statuses need."""

    def statuses(self, commit: str) -> Sequence[Status]: ...
    def set_status(
        self, commit: str, *, context: str, state: str, description: str, target_url: str = ""
    ) -> None: ...


class CommitStatuses:
    """Statuses by commit. Not thread-safe.

    What a commit shows is read once, and then known, because only one dispatcher at a time leads.
    """

    def __init__(self, board: StatusBoard) -> None:
        self._board = board
        self._cache: OrderedDict[str, dict[str, Status]] = OrderedDict()

    def forget(self) -> None:
        """Another dispatcher may have set statuses since."""
        self._cache.clear()

    def get(self, commit: str, context: str) -> Status | None:
        """What a commit shows for a context; None if nothing, or nothing among its latest 50.

        Raises:
            Unavailable, Denied: see ``ForgeApi``.
        """
        if commit not in self._cache:
            latest_first = self._board.statuses(commit)
            self._cache[commit] = {s.context: s for s in reversed(latest_first)}
            if len(self._cache) > REMEMBERED:
                self._cache.popitem(last=False)
        return self._cache[commit].get(context)

    def set(
        self, commit: str, context: str, *, state: str, description: str, target_url: str = ""
    ) -> None:
        """Show this, unless the commit shows it already: another link to the same is no change.

        Raises:
            Unavailable, Denied, ForgeRefused: see ``ForgeApi``.
        """
        description = " ".join(description.split())[:DESCRIPTION_LIMIT]
        status = Status(
            context=context, status=state, description=description, target_url=target_url
        )
        shown = self.get(commit, context)
        if shown is not None and _says(shown) == _says(status):
            return
        try:
            self._board.set_status(
                commit,
                context=context,
                state=state,
                description=description,
                target_url=target_url,
            )
        except Exception:
            self._cache.pop(commit, None)  # nobody knows whether it arrived
            raise
        self._cache[commit][context] = status


def _says(status: Status) -> tuple[str, str, bool]:
    return status.status, status.description, bool(status.target_url)
