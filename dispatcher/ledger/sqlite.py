"""The ledger of one machine: a SQLite file, and a file lock for the leader.

Both are in ``state_dir``, on a local disk (SQLite's log and ``flock`` are not reliable on network
file systems). The commands of the CLI read and write concurrently with a running ``serve``.

Losing a claim can mean a second run, so this module never creates a ledger where one has been:
a damaged file, an empty one, or none beside a lock file of an earlier leader is an error with its
remedy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path

from dispatcher.errors import Conflict, Dependency, Exit, PermanentError, Unavailable
from dispatcher.host.durable import sync_directory
from dispatcher.host.private import make_private, take_from_others
from dispatcher.host.sqlite_transaction import transaction
from dispatcher.ledger.base import AlreadyClaimed, Lease, Note
from dispatcher.ledger.codec import decode, encode
from dispatcher.model.run import Claim

DATABASE = "ledger.db"
LOCK = "leader.lock"
APPLICATION_ID = 1_684_632_425
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
"""How long a write waits for another process's write; each takes a few milliseconds."""

LEADER_POLL_S = 0.5
"""Mean pause between two attempts to become leader."""

MACHINE_ID = Path("/etc/machine-id")
"""See machine-id(5); a container may have none."""

_NOTES = """CREATE TABLE IF NOT EXISTS notes (
    name TEXT PRIMARY KEY, version INTEGER NOT NULL CHECK (version > 0), note TEXT NOT NULL
) STRICT, WITHOUT ROWID"""
"""Not in ``schema.sql``: an older ledger has no such table, and older versions can read one that
has it.
"""

_CORRUPT = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}


class DamagedLedger(PermanentError):
    """The ledger's file is damaged, emptied, removed, or not a ledger."""

    exit_code = Exit.IOERR


class SqliteLedger:
    """Claims in ``<state_dir>/ledger.db``; see ``dispatcher.ledger.base.Ledger`` for the methods.

    One connection serves all threads, one at a time: SQLite has one writer anyway, and a write
    ends when its log record is on the disk.

    Args:
        state_dir: created with the first write if it does not exist.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir.absolute()
        self._file = self._folder / DATABASE
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def claim(self, claim: Claim) -> Claim:
        """Write a claim that must not exist yet; raises ``AlreadyClaimed`` if one does."""
        with self._write() as db:
            row = db.execute(
                "SELECT claim, version FROM claims WHERE action_id = ?", (claim.key.action_id,)
            ).fetchone()
            if row is not None:
                raise AlreadyClaimed(self._read(claim.key.action_id, *row))
            version = _next_version(db)
            db.execute(
                "INSERT INTO claims (action_id, version, claim) VALUES (?, ?, ?)",
                (claim.key.action_id, version, encode(claim)),
            )
        return dataclasses.replace(claim, version=version)

    def update(self, claim: Claim) -> Claim:
        """Replace a claim whose version is still ``claim.version``; raises ``Conflict`` if not."""
        with self._write() as db:
            version = _next_version(db)
            done = db.execute(
                "UPDATE claims SET version = ?, claim = ? WHERE action_id = ? AND version = ?",
                (version, encode(claim), claim.key.action_id, claim.version),
            )
            if done.rowcount != 1:
                raise Conflict(f"the claim of {claim.key.action_id} changed or is gone")
        return dataclasses.replace(claim, version=version)

    def get(self, action_id: str) -> Claim | None:
        """The claim of an action id, or None. Creates no file if there is none yet."""
        claims = self._select("WHERE action_id = ?", action_id)
        return claims[0] if claims else None

    def open_runs(self) -> Sequence[Claim]:
        """All claims, ordered by action id. Creates no file if there is none yet."""
        return self._select("ORDER BY action_id")

    def _select(self, which: str, *values: str) -> tuple[Claim, ...]:
        if not self._file.exists() and not (self._folder / LOCK).exists():
            return ()
        with self._lock, self._foreign_errors():
            rows = self._open().execute(
                f"SELECT action_id, claim, version FROM claims {which}",  # noqa: S608 - our own text
                values,
            )
            fetched = rows.fetchall()
        return tuple(self._read(*row) for row in fetched)

    def release(self, claim: Claim) -> None:
        """Remove a claim whose version is still ``claim.version``; raises ``Conflict`` if not."""
        with self._write() as db:
            done = db.execute(
                "DELETE FROM claims WHERE action_id = ? AND version = ?",
                (claim.key.action_id, claim.version),
            )
            if (
                done.rowcount == 0
                and db.execute(
                    "SELECT 1 FROM claims WHERE action_id = ?", (claim.key.action_id,)
                ).fetchone()
            ):
                raise Conflict(f"the claim of {claim.key.action_id} changed since it was read")

    def note(self, name: str) -> Note | None:
        """The note of this name, or None. Creates no file if there is none yet."""
        if not self._file.exists() and not (self._folder / LOCK).exists():
            return None
        with self._lock, self._foreign_errors():
            db = self._open()
            has_notes = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'notes'").fetchone()
            query = "SELECT note, version FROM notes WHERE name = ?"
            row = db.execute(query, (name,)).fetchone() if has_notes else None
        return None if row is None else Note(text=row[0], version=row[1])

    def write_note(self, name: str, text: str, *, version: int) -> Note:
        """Write a note whose version is still ``version``; raises ``Conflict`` if not."""
        with self._write() as db:
            db.execute(_NOTES)
            new = _next_version(db)
            done = db.execute(
                "UPDATE notes SET version = ?, note = ? WHERE name = ? AND version = ?"
                if version
                else "INSERT OR IGNORE INTO notes (version, note, name) VALUES (?, ?, ?)",
                (new, text, name, version) if version else (new, text, name),
            )
            if done.rowcount != 1:
                raise Conflict(f"the note {name} in {self._file} changed or is gone")
        return Note(text=text, version=new)

    def place(self) -> str:
        """Machine, path, and the inodes of directory and file: a copy differs in one of them."""
        with self._foreign_errors():
            if not self._file.exists():
                return ""
            inodes = f"{self._folder.stat().st_ino}/{self._file.stat().st_ino}"
            return f"{self._folder.resolve()} (inodes {inodes}, machine {_machine()})"

    @contextlib.contextmanager
    def leader(self, *, name: str, waiting: Callable[[str], None]) -> Iterator[Lease]:
        """Hold ``<state_dir>/leader.lock``; the kernel releases it when this process ends, for
        whatever reason.

        ``waiting`` is called at every attempt, about twice a second. The lease is lost only when
        the file is removed or replaced.
        """
        with self._lock, self._foreign_errors():
            self._open()  # so that a lock file never exists without a ledger
        path = self._folder / LOCK
        lease = _take(path, name=name)
        while lease is None:
            waiting(_holder(path))
            time.sleep(LEADER_POLL_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            lease = _take(path, name=name)
        try:
            yield lease
        finally:
            lease.give_up()

    def close(self) -> None:
        """Close the database; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _read(self, action_id: str, text: str, version: int) -> Claim:
        return decode(text, version=version, place=f"{self._file}, action {action_id}")

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._foreign_errors(), transaction(self._open()) as db:
            yield db

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if not self._file.exists():
                self._create()
            self._inode = self._file.stat().st_ino
            for part in ("", "-wal", "-shm"):  # those of an older release were readable by all
                take_from_others(self._folder / f"{DATABASE}{part}")
            db = _connect(self._file)
            try:
                self._check(db)
            except BaseException:
                db.close()
                raise
            self._connection = db
        elif not self._file.exists() or self._file.stat().st_ino != self._inode:
            # SQLite would keep writing to an unlinked file.
            raise self._damaged("was removed or replaced while it was in use")
        return self._connection

    def _check(self, db: sqlite3.Connection) -> None:
        # A commit reaches the disk before it is acknowledged. With NORMAL, the last commits before
        # a power failure may be gone: a claim would be forgotten, and its action could run twice.
        db.execute("PRAGMA synchronous = FULL")
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (schema,) = db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise self._damaged("is not a ledger, or was emptied")
        if schema != SCHEMA_VERSION:
            raise PermanentError(
                f"{self._file} has schema {schema}, and this version reads {SCHEMA_VERSION}",
                remedy="Another version of disinto wrote it: use that one.",
            )
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self._damaged(f"is damaged ({verdict.splitlines()[-1]})")

    def _create(self) -> None:
        """Create the file completely beside its path, then link it there: never an incomplete
        ledger."""
        if (self._folder / LOCK).exists():
            if self._file.exists():
                return  # another process created it first, and already leads
            raise self._damaged(f"is missing, although {LOCK} says that a dispatcher led here")
        make_private(self._folder)
        draft = self._folder / f".{DATABASE}.{os.getpid()}.{threading.get_ident()}"
        draft.unlink(missing_ok=True)
        try:
            # SQLite gives its log and its index the permissions of the database.
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            db = _connect(draft)
            try:
                db.execute("BEGIN")
                for statement in _statements():
                    db.execute(statement)
                db.execute("COMMIT")
                # Persisted in the file: readers continue during writes.
                db.execute("PRAGMA journal_mode = WAL")
            finally:
                db.close()
            with contextlib.suppress(FileExistsError):  # another process created it first
                os.link(draft, self._file)
            sync_directory(self._folder)
        finally:
            draft.unlink(missing_ok=True)

    def _damaged(self, what: str) -> DamagedLedger:
        return DamagedLedger(
            f"{self._file} {what}",
            remedy="Restore it from a backup. Without one: make sure that no run of this "
            f"dispatcher is alive, move {DATABASE}* and {LOCK} away, and start again; actions with "
            "a result in the ops repository do not run again, any other may.",
        )

    @contextlib.contextmanager
    def _foreign_errors(self) -> Iterator[None]:
        """Translate errors of SQLite and of the file system to our own classes."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "") or ""
            if any(name.startswith(code) for code in _CORRUPT):
                raise self._damaged(f"is damaged ({error})") from error
            raise Unavailable(
                Dependency.LEDGER,
                f"the ledger {self._file} cannot be used: {error}",
                remedy="Check the permissions and the free space of its directory.",
            ) from error
        except OSError as error:
            raise Unavailable(
                Dependency.LEDGER,
                f"the ledger {self._file} cannot be used: {error.strerror}",
                remedy="Check the permissions and the free space of its directory.",
            ) from error


class _FileLease:
    """An open, locked file. Held until released, as long as the path still leads to it."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd: int | None = fd
        self._path = path
        self._inode = os.fstat(fd).st_ino

    def held(self) -> bool:
        if self._fd is None:
            return False
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def give_up(self) -> None:
        if self._fd is not None:
            if self.held():
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


def _take(path: Path, *, name: str) -> _FileLease | None:
    """The lease, or None while another process (or another ledger of this one) has it."""
    try:
        # Never inherited by a run's processes (O_CLOEXEC is Python's default): a run that outlives
        # the dispatcher must not keep the lock.
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(
            Dependency.LEDGER,
            f"{path} cannot be opened: {error.strerror}",
            remedy="Check the permissions of its directory.",
        ) from error
    lease = _FileLease(fd, path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if not lease.held():  # replaced between opening and locking
        os.close(fd)
        return None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{name}\n".encode(), 0)
    return lease


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
    except OSError:
        return "another process"


def _machine() -> str:
    try:
        return MACHINE_ID.read_text(encoding="ascii", errors="replace").strip() or "unknown"
    except OSError:
        return "unknown"


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{file.as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,  # transactions are begun by hand
        check_same_thread=False,  # one thread at a time, by the lock
    )


def _statements() -> Iterator[str]:
    text = resources.files("dispatcher.ledger").joinpath("schema.sql").read_text(encoding="utf-8")
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _next_version(db: sqlite3.Connection) -> int:
    row = db.execute("UPDATE counter SET value = value + 1 RETURNING value").fetchone()
    version: int = row[0]
    return version
