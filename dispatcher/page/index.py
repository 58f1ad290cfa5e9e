"""The index: every run in git, so that a list of them is a query and not a walk.

It is derived from git alone, commit by commit, and keeps no truth: without its file it is built anew.
Anybody who may push can write what looks like a result, so it is for people to look at; whether a
result is ours, its own page checks.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from dispatcher.host.private import make_private
from dispatcher.host.sqlite_transaction import transaction
from dispatcher.model.names import is_id
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH, RESULT_ENDING
from dispatcher.model.result import Result
from dispatcher.model.times import epoch
from dispatcher.ops_repo import Delta
from dispatcher.ops_repo.changes import Event
from dispatcher.page.index_queries import Filter, counting, daily, listing

T = TypeVar("T")

NAME = "index.db"
VERSION = 2
BATCH = 500
"""Results that are read at a time."""

KEPT = 100
"""Answers that are kept while nothing changes."""

REASON_LIMIT = 300
"""Characters of a reason that are kept."""

Read = Callable[[Iterable[str]], Mapping[str, bytes | int]]
"""Reads blobs of git; the size of one that is too large stands in its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One run that has ended. ``at``: seconds since the epoch."""

    id: str
    verdict: str
    formula: str
    tier: str
    at: float
    exit_code: int | None
    duration_s: float | None
    reason: str
    author: str


class Index:
    """The index of one state directory. Thread-safe; several processes may use one file.

    Args:
        directory: created if it is missing.
        now: seconds since the epoch; no run counts as newer.

    Raises:
        sqlite3.Error, OSError: from every method, if the disk fails.
    """

    def __init__(self, directory: Path, *, now: Callable[[], float]) -> None:
        make_private(directory)
        self._file = directory / NAME
        self._now = now
        self._local = threading.local()
        self._found: dict[Hashable, tuple[tuple[str, int, str], Any]] = {}
        self._prepare()

    @property
    def commit(self) -> str:
        """The commit that it describes; "" for none yet."""
        return self.fact("commit")

    @property
    def unread(self) -> int:
        """Results that are in git and not in the lists yet."""
        return int(self._value("SELECT count(*) FROM unread"))

    def fact(self, name: str) -> str:
        """A fact that was noted; "" if it was not."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def enter(
        self, delta: Delta, *, base: str, authors: Mapping[str, str] | None = None
    ) -> Sequence[str]:
        """Move to a commit.

        Args:
            base: the commit that the difference was computed from.
            authors: who wrote the actions that were added, by id.

        Returns:
            Ids of actions that were added.
        """
        with transaction(self._db) as db:
            if self.fact("commit") != base:
                return ()  # another process was here first
            if delta.complete:
                db.execute("DELETE FROM places")
                db.execute("DELETE FROM unread")
                db.execute("DELETE FROM runs")
            added, touched = _place(db, delta.events)
            for action_id in touched:
                _await_reading(db, action_id)
            db.executemany("REPLACE INTO authors VALUES (?, ?)", (authors or {}).items())
            _note(db, "commit", delta.commit)
            if delta.complete:
                _note(db, "authors", f"{delta.commit} 0")
        return added

    def read_some(self, read: Read) -> int:
        """Read some of the results that are not in the lists yet, the newest first; how many are
        left.
        """
        rows = self._db.execute(
            "SELECT u.id, p.blob FROM unread u JOIN places p ON p.path = u.path "
            "ORDER BY u.path LIKE ? DESC, u.path DESC LIMIT ?",
            (f"{ACTIONS_PATH}/%", BATCH),
        ).fetchall()
        contents = read([blob for _, blob in rows]) if rows else {}
        latest = self._now()
        with transaction(self._db) as db:
            for action_id, blob in rows:
                db.execute(
                    "REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    _row(action_id, contents.get(blob), latest),
                )
                db.execute("DELETE FROM unread WHERE id = ?", (action_id,))
        return self.unread

    @property
    def search(self) -> tuple[str, int] | None:
        """How far the search for authors in the history has come: the commit that it began at, and
        how many commits it has read; None when it is done.
        """
        commit, _, searched = self.fact("authors").partition(" ")
        return (commit, int(searched)) if commit else None

    def searched(self, authors: Mapping[str, str], reached: tuple[str, int] | None) -> None:
        """Record who wrote actions found by the search, and how far it has come."""
        with transaction(self._db) as db:
            db.executemany("INSERT OR IGNORE INTO authors VALUES (?, ?)", authors.items())
            _note(db, "authors", f"{reached[0]} {reached[1]}" if reached else "")

    def runs(
        self, wanted: Filter, *, before: tuple[float, str] | None = None, count: int
    ) -> list[Row]:
        """The newest runs that are wanted, the newest first.

        Args:
            before: time and id of the last one on the page before.
        """
        rows = self._db.execute(*listing(wanted, before=before, count=count))
        names = tuple(Row.__dataclass_fields__)
        return [
            Row(**{**dict(zip(names, row, strict=True)), "author": row[-1] or ""}) for row in rows
        ]

    def count(self, wanted: Filter) -> int:
        """How many runs are wanted."""
        return self._kept(("count", wanted), lambda: int(self._value(*counting(wanted))))

    def days(self, wanted: Filter, *, since: float) -> dict[int, dict[str, int]]:
        """Runs by the day on which they ended (days since the epoch, UTC) and by verdict."""
        return self._kept(("days", wanted, since), lambda: self._days(wanted, since))

    def _days(self, wanted: Filter, since: float) -> dict[int, dict[str, int]]:
        rows = self._db.execute(*daily(wanted, since=since))
        days: dict[int, dict[str, int]] = {}
        for day, verdict, number in rows:
            days.setdefault(day, {})[verdict] = number
        return days

    def formulas(self) -> list[str]:
        """The names of formulas that ran."""
        return self._distinct("formula", "runs")

    def authors(self) -> list[str]:
        """Who wrote actions."""
        return self._distinct("author", "authors")

    def author(self, action_id: str) -> str:
        """Who claims to have written an action; "" if that is not known."""
        row = self._db.execute("SELECT author FROM authors WHERE id = ?", (action_id,)).fetchone()
        return str(row[0]) if row else ""

    def open_ids(self, *, count: int) -> list[str]:
        """Actions without a result."""
        query = "SELECT id FROM places GROUP BY id HAVING max(is_result) = 0 LIMIT ?"
        return self._kept(
            ("open", count), lambda: [str(row[0]) for row in self._db.execute(query, (count,))]
        )

    def _kept(self, what: Hashable, find: Callable[[], T]) -> T:
        """What was found before, if nothing has changed since: with 100,000 runs it takes a while."""
        state = (self.commit, self.unread, self.fact("authors"))
        kept = self._found.get(what)
        if kept is None or kept[0] != state:
            if len(self._found) >= KEPT:
                self._found.clear()
            kept = self._found[what] = (state, find())
        found: T = kept[1]
        return found

    def _distinct(self, column: str, table: str) -> list[str]:
        """Values by a jump from each to the next in the index, however many rows have it."""
        found: list[str] = []
        last = ""
        query = f"SELECT min({column}) FROM {table} WHERE {column} > ?"  # noqa: S608 - ours
        while len(found) < 500 and (value := self._value(query, (last,))) is not None:
            found.append(last := str(value))
        return found

    def _value(self, query: str, values: Sequence[object] = ()) -> Any:
        return self._db.execute(query, values).fetchone()[0]

    @property
    def _db(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = sqlite3.connect(
                self._file, isolation_level=None, timeout=20.0, check_same_thread=False
            )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")  # it is built anew if it breaks
            self._local.db = db
        return db

    def _prepare(self) -> None:
        """Create the tables; a file of another version, or a broken one, is replaced."""
        try:
            if self._value("PRAGMA user_version") == VERSION:
                return
        except sqlite3.DatabaseError:
            pass
        self._local.db = None
        for path in self._file.parent.glob(f"{NAME}*"):
            path.unlink(missing_ok=True)
        text = resources.files("dispatcher.page").joinpath("index.sql").read_text("utf-8")
        self._db.executescript(f"BEGIN; {text} PRAGMA user_version = {VERSION}; COMMIT;")


def _place(db: sqlite3.Connection, events: Iterable[Event]) -> tuple[list[str], set[str]]:
    """Record where files are; ids of new actions, and of results that changed."""
    added, touched = [], set()
    for path, entry in events:
        stem, is_result = _of_ours(path.rpartition("/")[2])
        if not stem:
            continue
        if is_result:
            touched.add(stem)
        if entry is None or not entry.regular:
            db.execute("DELETE FROM places WHERE path = ?", (path,))
            continue
        if not is_result and path.startswith(f"{ACTIONS_PATH}/"):
            added.append(stem)
        values = (path, stem, is_result, entry.oid)
        db.execute("REPLACE INTO places VALUES (?, ?, ?, ?)", values)
    return added, touched


def _of_ours(name: str) -> tuple[str, bool]:
    """The id of a file's name, "" if it is none of ours; and whether it is a result's."""
    for ending, is_result in ((RESULT_ENDING, True), (ACTION_ENDING, False)):
        stem = name.removesuffix(ending)
        if stem != name and is_id(stem):
            return stem, is_result
    return "", False


def _await_reading(db: sqlite3.Connection, action_id: str) -> None:
    """Have a result read: that beside the open actions, else the last in the archive."""
    place = db.execute(
        "SELECT path FROM places WHERE id = ? AND is_result = 1 "
        "ORDER BY path LIKE ? DESC, path DESC LIMIT 1",
        (action_id, f"{ACTIONS_PATH}/%"),
    ).fetchone()
    if place is None:
        db.execute("DELETE FROM runs WHERE id = ?", (action_id,))
        db.execute("DELETE FROM unread WHERE id = ?", (action_id,))
    else:
        db.execute("REPLACE INTO unread VALUES (?, ?)", (action_id, place[0]))


def _row(action_id: str, data: bytes | int | None, latest: float) -> tuple[object, ...]:
    """The row of a result; one without a verdict if it is none."""
    try:
        result = Result.model_validate_json(data if isinstance(data, bytes) else b"")
    except ValueError:
        return action_id, "", "", "", 0.0, None, None, "", action_id
    reason = result.error[:REASON_LIMIT]
    return (
        action_id,
        result.verdict.value,
        result.formula.name if result.formula else "",
        result.tier.value if result.tier else "",
        min(_seconds(result.timestamp), latest),
        result.exit_code,
        result.duration_s,
        reason,
        f"{action_id}\n{reason}".casefold(),
    )


def _seconds(timestamp: str) -> float:
    try:
        return max(0.0, epoch(timestamp))
    except (ValueError, OverflowError, OSError):
        return 0.0


def _note(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))
