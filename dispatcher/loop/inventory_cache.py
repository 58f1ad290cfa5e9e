"""The cache of what was verified about the inventory, in a file.

Verifying a signature takes long, and a result never changes under its blob hash. So what a verified
result says is kept in a file of the state directory, by the result's blob, its action and the keys by
which it was verified: with other keys it is verified again. So are the claims of the history's messages,
with the head up to which they were read. Nobody who may only push can write there; whoever can has the
ledger and the signing key as well. The file may be lost or damaged: then all is read and verified again.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from dispatcher.loop.inventory_facts import Claims, Fact, Named

CACHE = "inventory-cache.db"
"""Name of the file below the state directory."""

CACHED_LIMIT = 200_000
"""Maximum of results in the cache, which then begins anew, and of claims, of which then no more are kept."""

BUSY_TIMEOUT_S = 2.0

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (
    keys TEXT NOT NULL, result TEXT NOT NULL, action TEXT NOT NULL, fact TEXT NOT NULL,
    PRIMARY KEY (keys, result, action)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
    kind TEXT NOT NULL, entry TEXT NOT NULL, action TEXT NOT NULL,
    PRIMARY KEY (kind, entry, action)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS walked (head TEXT NOT NULL) STRICT;
"""

_LENGTH = len(Fact("", "", "").as_row())
"""Of a row: those of another version are verified anew."""

_SEQUENCE = Fact("", "", "", sequence=1).as_row().index(1)

T = TypeVar("T")


def parsed(texts: Iterable[str]) -> list[Any]:
    """The values of many small texts of JSON: all at once, since each call takes longer than its text.

    Raises:
        ValueError: one is not JSON.
    """
    values: list[Any] = json.loads(f"[{','.join(texts)}]")
    return values


class FactCache:
    """What was verified, in a file. Thread-safe; processes may share it. Never raises: what cannot be
    read or written is verified again.

    Args:
        directory: the state directory; None for no cache.
    """

    def __init__(self, directory: Path | None) -> None:
        self._file = None if directory is None else directory / CACHE
        self._turn = threading.Lock()

    def facts(self, keys: str) -> dict[tuple[str, str], Fact]:
        """All that was verified by these keys, by the result's blob and its action."""

        def read(db: sqlite3.Connection) -> dict[tuple[str, str], Fact]:
            rows = db.execute(
                "SELECT result, action, fact FROM facts WHERE keys = ?", (keys,)
            ).fetchall()
            facts = parsed(fact for _, _, fact in rows)
            return {
                (result, action): Fact(*fact)
                for (result, action, _), fact in zip(rows, facts, strict=True)
                if len(fact) == _LENGTH
            }

        return self._with(read) or {}

    def greatest(self) -> int:
        """The greatest sequence of all facts, by whatever keys; 0 if there is none."""

        def read(db: sqlite3.Connection) -> int:
            query = "SELECT max(json_extract(fact, ?)) FROM facts"
            (greatest,) = db.execute(query, (f"$[{_SEQUENCE}]",)).fetchone()
            return greatest if isinstance(greatest, int) else 0

        return self._with(read) or 0

    def add(self, keys: str, facts: Mapping[tuple[str, str], Fact]) -> None:
        """Keep what was verified by these keys."""
        rows = [(keys, *key, json.dumps(fact.as_row())) for key, fact in facts.items()]

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM facts WHERE keys <> ?", (keys,))
            (count,) = db.execute("SELECT count(*) FROM facts").fetchone()
            if count + len(rows) > CACHED_LIMIT:
                db.execute("DELETE FROM facts")
            db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", rows)

        self._with(write)

    def claims(self) -> tuple[str, dict[Named, dict[str, None]]]:
        """The head up to which the history was read, "" for none, and its claims."""

        def read(db: sqlite3.Connection) -> tuple[str, dict[Named, dict[str, None]]]:
            (head,) = db.execute("SELECT head FROM walked").fetchone() or ("",)
            claims: dict[Named, dict[str, None]] = {}
            for kind, entry, action in db.execute("SELECT kind, entry, action FROM claims"):
                claims.setdefault((kind, entry), {})[action] = None
            return head, claims

        return self._with(read) or ("", {})

    def walked(self, head: str, claims: Claims, *, since: str) -> bool:
        """Keep the claims of the history up to a head. Returns whether they follow what is kept: False if
        another process read another history meanwhile.

        Args:
            since: the head up to which histories were read before; "" for none.
        """
        rows = [(*named, action) for named, ids in claims.items() for action in ids]

        def write(db: sqlite3.Connection) -> bool:
            (before,) = db.execute("SELECT head FROM walked").fetchone() or ("",)
            if since and since != before:
                return False
            (count,) = db.execute("SELECT count(*) FROM claims").fetchone()
            if count + len(rows) > CACHED_LIMIT:
                return True  # what is kept stays: a push must not empty it
            db.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?, ?)", rows)
            db.execute("DELETE FROM walked")
            db.execute("INSERT INTO walked VALUES (?)", (head,))
            return True

        return self._with(write) is not False

    def _with(self, use: Callable[[sqlite3.Connection], T]) -> T | None:
        if self._file is None or not self._file.parent.is_dir():
            return None
        with self._turn:
            try:
                return self._used(self._file, use)
            except sqlite3.OperationalError:
                return None  # locked, full, or not ours to write
            except (sqlite3.DatabaseError, ValueError, TypeError):
                with suppress(OSError):
                    self._file.unlink()  # damaged
                return None

    @staticmethod
    def _used(file: Path, use: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(file, timeout=BUSY_TIMEOUT_S)) as db:
            db.executescript(_TABLES)
            with db:
                return use(db)
