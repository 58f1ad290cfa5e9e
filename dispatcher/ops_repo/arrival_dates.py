"""When a commit came to the branch, as far as that can be known.

A commit's date is its committer's word. One that is earlier than the truth makes an approval older than
it is, which starts nothing. One in the future would make it younger, perhaps for months: so of a commit
that is dated in the future when it is first asked about, that moment is recorded, and counts from then
on. What was pushed while no dispatcher ran may bear any date up to the present; whoever chose that date
could as well have pushed at it.

Each record is one file ``<commit>.json`` in a directory beside the clone.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from dispatcher.errors import Misconfigured
from dispatcher.ops_repo.lineage import Change
from dispatcher.ops_repo.rewrites import write

FOLDER = "dated-in-the-future"
"""Name of the directory, beside the clone."""

now = time.time


class ArrivalDates:
    """The records. Thread-safe; several processes may read and write them.

    Args:
        folder: see ``FOLDER``; created when the first commit is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, change: Change) -> float:
        """When a commit came to the branch, seconds since the epoch: the time that it claims, or when
        it was first seen here, if that is earlier. 0.0 if it claims none.

        Raises:
            Misconfigured: a record cannot be read or written.
        """
        claimed, present = float(change.committed_at), now()
        file = self._folder / f"{change.sha}.json"
        seen = self._read(file)
        if seen is None and claimed > present:
            write(file, json.dumps({"at": present}))
            seen = present
        return claimed if seen is None else min(claimed, seen)

    @staticmethod
    def _read(file: Path) -> float | None:
        try:
            return float(json.loads(file.read_text("utf-8"))["at"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as failed:
            raise Misconfigured(
                f"{file} cannot be read: it records when a commit dated in the future was first seen",
                remedy="Restore it; or, if every action that waits has been reviewed, remove it.",
            ) from failed
