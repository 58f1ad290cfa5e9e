"""The archive: finished actions move to ``vault/done/YYYY-MM/``.

A flat git folder costs in proportion to its size on every commit, so pairs that are older than a
set age leave it. Their history stays, ``status`` and ``logs`` find them, and an archived id never
runs again. The month is that of the result's ``timestamp``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from dispatcher.ops_repo import Finished, Move, OpsRepo, Published, Tree
from dispatcher.settings import DONE_PATH

RESULT_LIMIT = 1024 * 1024
"""Bytes of a result that are read to learn its age."""

PAIRS_A_COMMIT = 5_000

SECONDS_A_DAY = 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A pair that may move, and where to."""

    pair: Finished
    folder: str


class Archive:
    """Finds what is due and moves it. Remembers the age of every result it has read.

    Args:
        repo: the ops repo.
        after_days: age of a result at which its pair moves.
    """

    def __init__(self, repo: OpsRepo, *, after_days: float) -> None:
        self._repo = repo
        self._after_s = after_days * SECONDS_A_DAY
        self._finished_at: dict[str, float | None] = {}

    def due(self, tree: Tree, *, now: float, keep: Collection[str] = ()) -> list[Due]:
        """Pairs that are old enough, the oldest first.

        Args:
            tree: where they are looked for.
            now: seconds since the epoch.
            keep: ids to leave, such as those with an open claim.
        """
        self._read(tree)
        found = []
        for action_id, pair in tree.finished.items():
            finished_at = self._finished_at.get(pair.result.blob)
            movable = pair.action.regular and action_id not in tree.archived
            if finished_at is None or not movable or action_id in keep:
                continue
            if now - finished_at >= self._after_s:
                month = datetime.fromtimestamp(finished_at, UTC).strftime("%Y-%m")
                due = Due(pair=pair, folder=f"{DONE_PATH}/{month}")
                found.append((finished_at, action_id, due))
        return [due for _, _, due in sorted(found, key=lambda entry: entry[:2])]

    def move(
        self, due: Collection[Due], *, check: Callable[[], None] = lambda: None
    ) -> Iterator[Published]:
        """Move pairs, up to 5,000 in one commit; yields after each push.

        Args:
            due: what moves.
            check: called before each push; what it raises is passed on, and nothing is pushed.

        Raises:
            Unavailable: the remote cannot be reached; what was not yielded has not moved.
        """
        rest = iter(due)
        while batch := list(islice(rest, PAIRS_A_COMMIT)):
            moves = [
                Move(source=file.path, target=f"{entry.folder}/{file.path.rpartition('/')[2]}")
                for entry in batch
                for file in (entry.pair.action, entry.pair.result)
            ]
            message = f"Archive {len(batch)} actions"
            yield self._repo.publish([], moves=moves, message=message, check=check)

    def _read(self, tree: Tree) -> None:
        blobs = {pair.result.blob for pair in tree.finished.values()}
        for gone in self._finished_at.keys() - blobs:
            del self._finished_at[gone]
        unread = blobs - self._finished_at.keys()
        if unread:
            for blob, data in self._repo.read(unread, limit=RESULT_LIMIT).items():
                self._finished_at[blob] = _timestamp(data)


def _timestamp(data: bytes | int) -> float | None:
    """Seconds since the epoch, or None where the file is no result of ours; it stays then."""
    if isinstance(data, int):
        return None
    try:
        return datetime.fromisoformat(json.loads(data)["timestamp"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return None
