"""Reads the newest results for the status file, so that ``status`` need not read git.

Used on the thread that writes the status file. Results are cached.
"""

from __future__ import annotations

from collections.abc import Collection

from dispatcher.errors import DisintoError
from dispatcher.model.result import Result
from dispatcher.ops_repo import OpsRepo
from dispatcher.status.action_record import ActionRecord, of_result

COUNT = 10
"""Results in the status file, as many as ``status`` lists without ``-n``."""

SIZE_LIMIT = 64 * 1024
"""Maximum bytes of a result in the status file. Anybody with push rights can add a larger one as the
newest; then the file contains no results, and ``status`` reads git."""


class LastResults:
    """The newest results of an ops repo.

    Args:
        repo: the ops repo.
    """

    def __init__(self, repo: OpsRepo) -> None:
        self._repo = repo
        self._read: dict[str, Result | None] = {}

    def of(self, newest: Collection[str] | None) -> tuple[ActionRecord, ...] | None:
        """The newest ``COUNT`` of the results with these blobs, the newest first.

        Args:
            newest: see ``Overview.newest``.

        Returns:
            None while they are not known, or cannot be read.
        """
        if newest is None:
            return None
        try:
            read = self._repo.read(set(newest) - self._read.keys(), limit=SIZE_LIMIT)
        except DisintoError:
            return None
        if any(isinstance(data, int) for data in read.values()):
            return None
        before, self._read = self._read, {}
        for blob in newest:
            self._read[blob] = before[blob] if blob in before else _parsed(read[blob])
        results = [result for result in self._read.values() if result is not None]
        results.sort(key=lambda result: result.timestamp, reverse=True)
        return tuple(of_result(result) for result in results[:COUNT])


def _parsed(data: bytes | int) -> Result | None:
    try:
        return Result.model_validate_json(data if isinstance(data, bytes) else b"")
    except ValueError:
        return None  # not one of our results
