"""The last results as records, for the status file: ``status`` then reads no git.

Used on the thread that writes the status file. What was read once is kept.
"""

from __future__ import annotations

from collections.abc import Collection

from dispatcher.errors import DisintoError
from dispatcher.model.result import Result
from dispatcher.ops_repo import OpsRepo
from dispatcher.status.action_record import ActionRecord, of_result

COUNT = 10
"""Results that are written down, which are as many as ``status`` lists without ``-n``."""

SIZE_LIMIT = 64 * 1024
"""Bytes of a result that is written down. Whoever may push can put a larger one into the place of
the newest; then none are, and ``status`` reads git."""


class LastResults:
    """The newest results of an ops repo.

    Args:
        repo: that has them.
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
        return None  # somebody else's file
