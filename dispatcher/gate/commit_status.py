"""Sets the dispatcher's commit statuses, each once, with as few calls as possible."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from dispatcher.forge.records import Status

DESCRIPTION_LIMIT = 250
"""Characters of a status's description."""

REMEMBERED = 1_000
"""Maximum of commits whose statuses are cached."""


class StatusBoard(Protocol):
    """The part of ``dispatcher.forge.ForgeApi`` that statuses need."""

    def statuses(self, commit: str) -> Sequence[Status]: ...
    def set_status(
        self, commit: str, *, context: str, state: str, description: str, target_url: str = ""
    ) -> None: ...


class CommitStatuses:
    """Statuses by commit. Not thread-safe.

    A commit's statuses are read once and then cached, because only one dispatcher at a time leads.
    """

    def __init__(self, board: StatusBoard) -> None:
        self._board = board
        self._cache: OrderedDict[str, dict[str, Status]] = OrderedDict()

    def forget(self) -> None:
        """Drop the cache: another dispatcher may have set statuses since."""
        self._cache.clear()

    def none_yet(self, commit: str) -> None:
        """Note that a commit can have no status of ours yet but those that were set here."""
        self._cache.setdefault(commit, {})

    def get(self, commit: str, context: str) -> Status | None:
        """A commit's status for a context; None if there is none among its latest 50.

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
        """Set a status, unless the commit already has it: a different link to the same is no
        change.

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
            self._cache.pop(commit, None)  # unknown whether it arrived
            raise
        self._cache[commit][context] = status


def _says(status: Status) -> tuple[str, str, bool]:
    return status.status, status.description, bool(status.target_url)
