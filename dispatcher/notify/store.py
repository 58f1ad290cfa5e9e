"""The store of queued notices, and of those made before, in ``<state_dir>/notify.db``.

It is an SQLite file and not a directory like ``dispatcher.loop.outbox``, which holds one entry for one
receiver. Here a notice goes to several sinks and into the list of notices made, atomically, with one
sync for a thousand of them; and each sink has counters that must change together with its entries.
Losing the file costs notifications, but no run or result.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from dispatcher.host.private import make_private
from dispatcher.host.sqlite_transaction import transaction
from dispatcher.model.notice import Notice
from dispatcher.notify.conditions import Episode

NAME = "notify.db"

LIMIT = 1_000
"""Maximum queued notices per sink; the oldest are dropped for new ones, and counted."""

NOTED_LIMIT = 50_000
"""Notices recorded per sink, so that none is made twice."""

WINDOW_S = 60.0
BUSY_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """A queued notice for a sink.

    Attributes:
        number: of the entry.
        refusals: how often the sink's server rejected this message.
    """

    number: int
    refusals: int
    notice: Notice


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkState:
    """The state of a sink. Times are seconds since the epoch, 0.0 for never.

    Attributes:
        waiting: queued notices.
        sent: how many were sent, ever.
        dropped: how many were not, ever: too many at a time, no room, or refused.
        sent_at: when the last was sent.
        failing_since: when the first of the failures in a row was; 0.0 if the last one was sent.
        error: of the last failure, in words, or a warning about the last that was sent.
    """

    name: str
    waiting: int = 0
    sent: int = 0
    dropped: int = 0
    sent_at: float = 0.0
    failing_since: float = 0.0
    error: str = ""


class Store:
    """Stores notices and the state of sinks. Thread-safe; one connection, one transaction at a time.

    Args:
        state_dir: created if it is missing.

    Every method raises ``sqlite3.Error`` or ``OSError`` if the disk fails.
    """

    def __init__(self, state_dir: Path, *, limit: int = LIMIT) -> None:
        self._file = state_dir / NAME
        self._limit = limit
        self._turn = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def add(
        self,
        entries: Iterable[tuple[str, Notice]],
        *,
        episodes: Mapping[str, Episode] | None = None,
    ) -> int:
        """Store notices for sinks, except those that were made for them before; on disk when this
        returns.

        Args:
            episodes: replace those that are stored; None leaves them.

        Returns:
            How many notices are new.
        """
        added = 0
        with self._write() as db:
            if episodes is not None:
                db.execute("DELETE FROM episodes")
                rows = [(name, e.since, e.up_since) for name, e in episodes.items()]
                db.executemany("INSERT INTO episodes VALUES (?, ?, ?)", rows)
            for sink, notice in entries:
                inserted = db.execute(
                    "INSERT OR IGNORE INTO noted (sink, id) VALUES (?, ?)", (sink, notice.id)
                )
                if inserted.rowcount:
                    _enqueue(db, sink, notice)
                    self._trim(db, sink)
                    added += 1
        return added

    def episodes(self) -> dict[str, Episode]:
        """Outages that people were notified of, by dependency."""
        with self._read() as db:
            rows = db.execute("SELECT dependency, since, up_since FROM episodes").fetchall()
        return {name: Episode(since=since, up_since=up) for name, since, up in rows}

    def keep_only(self, sinks: Iterable[str]) -> None:
        """Forget sinks that are no longer configured."""
        names = json.dumps(list(sinks))
        with self._write() as db:
            for table, column in (
                ("outbox", "sink"),
                ("noted", "sink"),
                ("unsent", "sink"),
                ("sinks", "name"),
            ):
                query = (
                    f"DELETE FROM {table} WHERE {column} NOT IN (SELECT value FROM json_each(?))"  # noqa: S608
                )
                db.execute(query, (names,))

    def allowance(self, sink: str, *, per_minute: int, now: float) -> tuple[int, float]:
        """How many may be sent to a sink now, and the seconds until a new window begins."""
        with self._read() as db:
            row = db.execute(
                "SELECT window_at, window_sent FROM sinks WHERE name = ?", (sink,)
            ).fetchone()
        if row is None or not 0 <= now - row[0] < WINDOW_S:
            return per_minute, WINDOW_S
        return max(0, per_minute - row[1]), WINDOW_S - (now - row[0])

    def next(self, sink: str) -> Queued | None:
        """The next notice to send; an entry that cannot be read is removed."""
        while True:
            with self._read() as db:
                row = db.execute(
                    "SELECT number, refusals, notice FROM outbox WHERE sink = ? "
                    "ORDER BY summary DESC, number LIMIT 1",
                    (sink,),
                ).fetchone()
            if row is None:
                return None
            try:
                notice = Notice.from_json(json.loads(row[2]))
                return Queued(number=row[0], refusals=row[1], notice=notice)
            except (ValueError, TypeError, KeyError):
                with self._write() as db:
                    db.execute("DELETE FROM outbox WHERE number = ?", (row[0],))

    def sent(self, sink: str, number: int, *, warning: str, now: float) -> None:
        """Record that an entry was sent."""
        with self._write() as db:
            db.execute("DELETE FROM outbox WHERE number = ?", (number,))
            _about(db, sink)
            db.execute(
                "UPDATE sinks SET window_at = ?1, window_sent = 0 "
                "WHERE name = ?2 AND NOT (?1 - window_at >= 0 AND ?1 - window_at < ?3)",
                (now, sink, WINDOW_S),
            )
            db.execute(
                "UPDATE sinks SET window_sent = window_sent + 1, sent = sent + 1, sent_at = ?, "
                "failing_since = 0, error = ? WHERE name = ?",
                (now, warning, sink),
            )

    def failed(self, sink: str, error: str, *, now: float) -> None:
        """Record that a sink failed."""
        with self._write() as db:
            _about(db, sink)
            db.execute(
                "UPDATE sinks SET error = ?1, failing_since = "
                "CASE WHEN failing_since > 0 THEN failing_since ELSE ?2 END WHERE name = ?3",
                (error, now, sink),
            )

    def refused(self, sink: str, number: int, error: str, *, tries: int) -> bool:
        """A message itself was refused; True if it is given up, at the last of ``tries``."""
        with self._write() as db:
            _about(db, sink)
            db.execute("UPDATE sinks SET error = ? WHERE name = ?", (error, sink))
            db.execute("UPDATE outbox SET refusals = refusals + 1 WHERE number = ?", (number,))
            given_up = "sink = ? AND number = ? AND refusals >= ?"
            return _give_up(db, sink, given_up, (sink, number, tries)) > 0

    def hold_back(self, sink: str) -> int:
        """Drop all queued notices of a sink except a summary, and count them for the next one."""
        with self._write() as db:
            return _give_up(db, sink, "sink = ? AND summary = 0", (sink,))

    def summarize(self, sink: str, make: Callable[[Mapping[str, int], int], Notice]) -> bool:
        """Queue a summary of what was not sent in front; False if there is nothing to summarize.

        Args:
            make: makes it from the counts by condition ("" for summaries that were not sent
                themselves) and the summary's number.
        """
        with self._write() as db:
            counts = db.execute(
                "SELECT condition, count FROM unsent WHERE sink = ? ORDER BY count DESC, condition",
                (sink,),
            ).fetchall()
            if not counts:
                return False
            _about(db, sink)
            db.execute("DELETE FROM unsent WHERE sink = ?", (sink,))
            query = "UPDATE sinks SET summaries = summaries + 1 WHERE name = ? RETURNING summaries"
            ((serial,),) = db.execute(query, (sink,)).fetchall()
            _enqueue(db, sink, make(dict(counts), serial), summary=True)
            return True

    def states(self) -> dict[str, SinkState]:
        """The state of each sink that was ever used. Creates no file."""
        if not self._file.exists():
            return {}
        with self._read() as db:
            about = db.execute(
                "SELECT name, sent, dropped, sent_at, failing_since, error FROM sinks"
            ).fetchall()
            waiting = dict(db.execute("SELECT sink, COUNT(*) FROM outbox GROUP BY sink").fetchall())
        states = {
            name: SinkState(
                name=name,
                waiting=waiting.get(name, 0),
                sent=sent,
                dropped=dropped,
                sent_at=sent_at,
                failing_since=failing_since,
                error=error,
            )
            for name, sent, dropped, sent_at, failing_since, error in about
        }
        unused = {name: SinkState(name=name, waiting=n) for name, n in waiting.items()}
        return {**unused, **states}

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._turn:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _trim(self, db: sqlite3.Connection, sink: str) -> None:
        (count,) = db.execute("SELECT COUNT(*) FROM outbox WHERE sink = ?", (sink,)).fetchone()
        if count > self._limit:
            oldest = (
                "number IN (SELECT number FROM outbox WHERE sink = ? ORDER BY summary, number "
                "LIMIT ?)"
            )
            _give_up(db, sink, oldest, (sink, count - self._limit))
        (last,) = db.execute("SELECT MAX(number) FROM noted").fetchone()
        if last % 1_000 == 0:
            db.execute(
                "DELETE FROM noted WHERE sink = ?1 AND number <= (SELECT number FROM noted "
                "WHERE sink = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                (sink, NOTED_LIMIT),
            )

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            yield self._open()

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._turn, transaction(self._open()) as db:
            yield db

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            make_private(self._file.parent)
            try:
                self._db = _connect(self._file)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorname not in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
                    raise
                # What was on its way is lost; a dispatcher must not be silent forever because of
                # it.
                self._file.replace(self._file.with_suffix(".damaged"))
                for part in ("-wal", "-shm"):
                    self._file.with_name(NAME + part).unlink(missing_ok=True)
                self._db = _connect(self._file)
        return self._db


def _connect(file: Path) -> sqlite3.Connection:
    # SQLite gives its log and its index the rights of the database.
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(
        file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # on the disk before it counts as written
        db.executescript(
            resources.files("dispatcher.notify").joinpath("schema.sql").read_text(encoding="utf-8")
        )
    except BaseException:
        db.close()
        raise
    return db


def _enqueue(db: sqlite3.Connection, sink: str, notice: Notice, *, summary: bool = False) -> None:
    db.execute(
        "INSERT OR IGNORE INTO outbox (sink, id, summary, condition, notice) VALUES (?, ?, ?, ?, ?)",
        (sink, notice.id, int(summary), notice.condition or "", json.dumps(notice.to_json())),
    )


def _about(db: sqlite3.Connection, sink: str) -> None:
    db.execute("INSERT OR IGNORE INTO sinks (name) VALUES (?)", (sink,))


def _give_up(db: sqlite3.Connection, sink: str, where: str, values: tuple[object, ...]) -> int:
    """Remove entries, and count them."""
    counted = db.execute(
        f"SELECT condition, COUNT(*) FROM outbox WHERE {where} GROUP BY condition",  # noqa: S608
        values,
    ).fetchall()
    if not counted:
        return 0
    db.execute(f"DELETE FROM outbox WHERE {where}", values)  # noqa: S608
    for condition, count in counted:
        db.execute(
            "INSERT INTO unsent VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET count = count + ?3",
            (sink, condition, count),
        )
    total = sum(int(count) for _, count in counted)
    _about(db, sink)
    db.execute("UPDATE sinks SET dropped = dropped + ? WHERE name = ?", (total, sink))
    return total
