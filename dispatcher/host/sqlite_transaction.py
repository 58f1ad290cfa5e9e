"""A transaction of SQLite on a connection that begins none by itself."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Take the write lock, then commit, or roll back whatever went wrong.

    Args:
        db: opened with ``isolation_level=None``.

    Raises:
        sqlite3.Error: the lock cannot be had, or the commit failed.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.commit()
    except BaseException:
        # also after a failed commit, which may have left the transaction open
        db.rollback()
        raise
