"""Moves finished actions to the archive, ``vault/done/YYYY-MM/``.

A flat git directory costs in proportion to its size on every commit, so pairs that are older than a
set age leave it. Their history stays, ``status`` and ``logs`` find them, and an archived id never
runs again. The month is that of the result's ``timestamp``. The archive's directories are flat as well:
once a month's has ``MONTH_LIMIT`` actions, further ones of that month go to ``vault/done/YYYY-MM-DD/``.

Work is split into short steps that need little memory, however much is due: a step reads some
results or makes one commit. ``serve`` runs one at a time, off the loop's thread.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dispatcher.model.paths import DONE_PATH, RESULT_ENDING
from dispatcher.model.result import RESULT_LIMIT
from dispatcher.ops_repo import Finished, Move, OpsRepo, Published, Tree

RESULTS_A_STEP = 500
PAIRS_A_COMMIT = 2_000

MONTH_LIMIT = 10_000
"""Actions in the directory of a month from which on no more are added. A commit that moves pairs lists
and writes the directory that they go to; a day's has at most what ended on that day."""

NEWEST = 100
"""How many of the newest results are tracked; ``status`` lists some of these."""

SECONDS_A_DAY = 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A pair that may move, and where to.

    Attributes:
        cancel: path of the request to cancel beside it, which moves along; "" if none.
    """

    pair: Finished
    folder: str
    cancel: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths that move."""
        pair = (self.pair.action.path, self.pair.result.path)
        return (*pair, self.cancel) if self.cancel else pair


class Archive:
    """Finds finished pairs that are due and moves them. Caches the age of every result it has read.

    Not thread-safe: one ``Pass`` at a time, one step at a time.

    Attributes:
        newest: blobs of the ``NEWEST`` results that finished last, as of the last pass; None until
            a pass has read all.

    Args:
        repo: the ops repo.
        after_days: age of a result at which its pair moves.
    """

    def __init__(self, repo: OpsRepo, *, after_days: float) -> None:
        self._repo = repo
        self._after_s = after_days * SECONDS_A_DAY
        self._finished_at: dict[str, float | None] = {}
        self.newest: tuple[str, ...] | None = None

    def begin(self, tree: Tree, *, now: float) -> Pass:
        """Begin a pass over the finished pairs of a tree. Does no I/O yet, and keeps no reference
        to the tree.

        Args:
            tree: at the present head.
            now: seconds since the epoch.
        """
        pairs = [
            pair
            for action_id, pair in tree.finished.items()
            if pair.action.regular and pair.result.regular and action_id not in tree.archived
        ]
        blobs = {pair.result.blob for pair in pairs}
        for vanished in self._finished_at.keys() - blobs:
            del self._finished_at[vanished]
        requests = (tree.cancels.get(pair.action.id) for pair in pairs) if tree.cancels else ()
        cancels = {request.id: request.path for request in requests if request and request.regular}
        return Pass(
            self, pairs, oldest=now - self._after_s, cancels=cancels, archived_in=tree.archived_in
        )

    def due(self, tree: Tree, *, now: float, keep: Collection[str] = ()) -> list[Due]:
        """Pairs that are old enough, the oldest first.

        Args:
            tree, now: as for ``begin``.
            keep: ids to leave, such as those with an open claim.
        """
        return [
            entry for entry in self.begin(tree, now=now).due() if entry.pair.action.id not in keep
        ]

    def move(
        self, due: Sequence[Due], *, check: Callable[[], None] = lambda: None
    ) -> Iterator[Published]:
        """Move pairs, up to ``PAIRS_A_COMMIT`` in one commit; yields after each push.

        Args:
            due: what moves.
            check: called before each commit and each push; what it raises is passed on, and
                nothing more is pushed.

        Raises:
            Unavailable: the remote cannot be reached; what was not yielded has not moved.
        """
        for start in range(0, len(due), PAIRS_A_COMMIT):
            yield self.move_once(due[start : start + PAIRS_A_COMMIT], check=check)

    def move_once(self, due: Sequence[Due], *, check: Callable[[], None]) -> Published:
        """Move pairs in one commit; see ``move``."""
        check()
        moves = [
            Move(source=path, target=f"{entry.folder}/{path.rpartition('/')[2]}")
            for entry in due
            for path in entry.paths
        ]
        message = f"Archive {len(due)} actions"
        return self._repo.publish([], moves=moves, message=message, check=check)

    def read(self, pairs: Sequence[Finished]) -> None:
        """Read when these pairs finished."""
        blobs = {pair.result.blob for pair in pairs}
        for blob, data in self._repo.read(blobs, limit=RESULT_LIMIT).items():
            self._finished_at[blob] = _timestamp(data)

    def has_read(self, pair: Finished) -> bool:
        """Whether this pair's finishing time has been read."""
        return pair.result.blob in self._finished_at

    def finished_at(self, pair: Finished) -> float | None:
        """When a pair finished, seconds since the epoch; None if unknown."""
        return self._finished_at.get(pair.result.blob)


class Pass:
    """One pass over finished pairs: it reads the ages of results, then moves the pairs that are due.

    Args:
        archive: that began it.
        pairs: all of them.
        cancels: paths of the requests to cancel beside them, by id.
        oldest: pairs that finished by then move, seconds since the epoch.
        archived_in: number of actions in each directory of the archive; copied.
    """

    def __init__(
        self,
        archive: Archive,
        pairs: Sequence[Finished],
        *,
        oldest: float,
        cancels: Mapping[str, str],
        archived_in: Mapping[str, int],
    ) -> None:
        self._archive = archive
        self._cancels = cancels
        self._pairs = pairs
        self._oldest = oldest
        self._archived_in = Counter(archived_in)
        self._unread = [pair for pair in pairs if not archive.has_read(pair)]
        self._old: list[Finished] | None = None

    def due(self) -> list[Due]:
        """All pairs that are due, the oldest first; reads the ages it lacks."""
        while self._unread:
            self._read_some()
        return [self._place(pair) for pair in self._find_old()]

    def _find_old(self) -> list[Finished]:
        """Pairs that are due, the oldest first."""
        due = [pair for pair in self._pairs if self._age(pair) <= self._oldest]
        return sorted(due, key=lambda pair: (self._age(pair), pair.action.id))

    def _age(self, pair: Finished) -> float:
        finished_at = self._archive.finished_at(pair)
        return math.inf if finished_at is None else finished_at

    def _place(self, pair: Finished) -> Due:
        finished_at = datetime.fromtimestamp(self._age(pair), UTC)
        directory = finished_at.strftime("%Y-%m")
        if self._archived_in[directory] >= MONTH_LIMIT:
            directory = finished_at.strftime("%Y-%m-%d")
        self._archived_in[directory] += (
            1  # one that is placed again counts again: it is a threshold
        )
        cancel = self._cancels.get(pair.action.id, "")
        return Due(pair=pair, folder=f"{DONE_PATH}/{directory}", cancel=cancel)

    def step(
        self, *, keep: Collection[str], check: Callable[[], None], moves: bool = True
    ) -> tuple[int, bool]:
        """Run the next step.

        Args:
            keep: ids that must not move now.
            moves: False to only read.
            check: see ``Archive.move``.

        Returns:
            How many pairs moved, and whether there is more to do.

        Raises:
            Unavailable: the remote cannot be reached; the next step retries.
        """
        check()
        if self._unread:
            self._read_some()
            return 0, True
        if self._old is None:
            self._archive.newest = self._newest()
            self._old = self._find_old() if moves else []
            self._old.reverse()  # so that those of a step are cut off at the end
        batch = self._old[-PAIRS_A_COMMIT:][::-1]
        movable = [self._place(pair) for pair in batch if pair.action.id not in keep]
        moved = 0
        if movable:
            written = self._archive.move_once(movable, check=check).written
            moved = sum(path.endswith(RESULT_ENDING) for path in written)
        del self._old[-PAIRS_A_COMMIT:]
        return moved, bool(self._old)

    def _newest(self) -> tuple[str, ...]:
        ages = ((self._archive.finished_at(p), p.result.blob) for p in self._pairs)
        finished = ((age, blob) for age, blob in ages if age is not None)
        return tuple(blob for _, blob in heapq.nlargest(NEWEST, finished))

    def _read_some(self) -> None:
        self._archive.read(self._unread[-RESULTS_A_STEP:])
        del self._unread[-RESULTS_A_STEP:]


def _timestamp(data: bytes | int) -> float | None:
    """Seconds since the epoch, or None if the file is not one of our results, which then stays."""
    if isinstance(data, int):
        return None
    try:
        return datetime.fromisoformat(json.loads(data)["timestamp"]).timestamp()
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
