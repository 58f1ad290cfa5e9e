"""Writes the audit log.

``audit.jsonl`` holds the records, ``audit.jsonl.head`` the number and hash of the last one: it
shows that the end was cut off, and is the writers' lock. Anybody who can write both files can rewrite
the whole log; against that, store the digest that ``disinto audit verify`` prints elsewhere.

A record is written to the kernel before the step continues: it survives a crash of the process, not
of the machine; a file is synced to disk when it is rotated. A torn last line, from a full disk or a
crash of the machine, is moved aside, which the log records. At 64 MiB the file is
renamed to ``audit.<first seq>.jsonl`` and the chain goes on in a new one. No record holds a secret:
callers pass names, hashes and reasons.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dispatcher.audit.record import GENESIS, encoded, line_of, record_of
from dispatcher.errors import TemporaryError

ROTATE_BYTES = 64 * 1024 * 1024

TAIL_BYTES = 4 * 1024
"""Bytes read first from the end to find the last line; more if a line is longer."""

_HEAD_FORMAT = "{:020d} {}\n"
_HEAD_BYTES = 20 + 1 + 64 + 1


@dataclass(slots=True)
class _Queued:
    """A record that a thread waits for.

    Attributes:
        content: see ``record.encoded``.
        done: whether it was written, or could not be, which ``error`` says.
    """

    content: bytes
    done: bool = False
    error: Exception | None = None


class AuditLog:
    """Appends records. Thread-safe; several processes may write one log (flock).

    Args:
        path: ``audit.jsonl``; created with its directory when the first record is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue_lock, self._write_lock = threading.Lock(), threading.Lock()
        self._queue: list[_Queued] = []
        self._end: tuple[int, tuple[int, str] | None] = (-1, None)

    def append(self, event: str, **facts: object) -> None:
        """Write one record, with those of other threads that wait; returns when the kernel has it.

        Args:
            event: what happened, in one word.
            facts: plain values; empty ones are left out, long texts are cut at 8,000 characters.

        Raises:
            TemporaryError: it cannot be written; nothing that must be audited should go on. The record may
                be in the log all the same.
        """
        with self._queue_lock:  # so that records are in the order of their times
            queued = _Queued(encoded(event, time=time.time(), facts=facts))
            self._queue.append(queued)
        with self._write_lock:
            if not queued.done:  # else another thread wrote it with its own
                self._write_queued()
            if not queued.done:
                queued.error = _interrupted()
        if isinstance(queued.error, OSError):
            raise TemporaryError(
                f"the audit log {self._path} cannot be written: {queued.error.strerror}",
                remedy="Free disk space, or make its directory writable for this user",
            ) from queued.error
        if queued.error is not None:
            raise queued.error

    def _write_queued(self) -> None:
        with self._queue_lock:
            taken, self._queue = self._queue, []
        failure: Exception | None = _interrupted()
        try:
            with self._locked() as guard:
                self._append(guard, [queued.content for queued in taken])
            failure = None
        except Exception as error:  # noqa: BLE001 - each thread raises it for its record
            failure = error
        finally:
            for queued in taken:
                queued.done, queued.error = True, failure

    def _append(self, guard: int, records: list[bytes]) -> None:
        fd = self._open()
        try:
            after = self._last_written(fd, guard)
            if after is None:
                torn = self._move_torn_line(fd)
                after = self._last(fd, guard)
                if torn is not None:
                    note = encoded("torn_end", time=time.time(), facts={"kept_in": torn})
                    records = [note, *records]
            if os.fstat(fd).st_size >= ROTATE_BYTES:
                self._rotate(fd)
                new = self._open()
                os.close(fd)
                fd = new
            after = _write(fd, guard, after, records)
            self._end = (os.fstat(fd).st_size, after)
        finally:
            os.close(fd)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The head file, with the writers' lock held."""
        try:
            guard = self._open_head()
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            guard = self._open_head()
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield guard
        finally:
            os.close(guard)

    def _open_head(self) -> int:
        return os.open(head_file(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _last_written(self, fd: int, guard: int) -> tuple[int, str] | None:
        """Number and hash of the record that we wrote last, if nothing was written since: then the end of
        the file needs no look.
        """
        size, last = self._end
        return last if os.fstat(fd).st_size == size and read_head(guard) == last else None

    def _move_torn_line(self, fd: int) -> str | None:
        """Move a torn last line aside; the name of the file that keeps it, or None."""
        size = os.fstat(fd).st_size
        torn = _tail(fd).rpartition(b"\n")[2]
        if not torn:
            return None
        aside = self._path.with_name(f"{self._path.name}.torn-{time.time_ns()}")
        aside.touch(mode=0o600)
        try:
            aside.write_bytes(torn)
        except OSError:
            aside.unlink()
            raise
        os.ftruncate(fd, size - len(torn))
        return aside.name

    def _last(self, fd: int, guard: int) -> tuple[int, str]:
        """Number and hash of the record that the next one follows.

        The head counts if it is ahead of the file, so that what was cut off stays missing.
        """
        head = read_head(guard)
        line = _tail(fd).rstrip(b"\n").rpartition(b"\n")[2]
        if not line:
            earlier = files(self._path)[:-1]
            line = _last_line(earlier[-1]) if earlier else b""
        record = record_of(line) if line else None
        if record is None or (head is not None and head[0] > record.seq):
            return head or (0, GENESIS)
        return record.seq, record.hash

    def _rotate(self, fd: int) -> None:
        with self._path.open("rb") as file:
            first = record_of(file.readline().rstrip(b"\n"))
        os.fsync(fd)
        number = f"{first.seq:012d}" if first else f"{time.time_ns():020d}"
        self._path.rename(self._path.with_name(f"{self._path.stem}.{number}.jsonl"))


def files(path: Path) -> list[Path]:
    """The files of a chain, the oldest first; the last one is ``path`` itself."""
    return [*sorted(path.parent.glob(f"{path.stem}.[0-9]*.jsonl")), path]


def head_file(path: Path) -> Path:
    """The file with the number and hash of the last record."""
    return path.with_name(f"{path.name}.head")


def read_head(fd: int) -> tuple[int, str] | None:
    """Number and hash of the last record, or None if the head file is not valid."""
    number, _, digest = os.pread(fd, _HEAD_BYTES, 0).decode(errors="replace").partition(" ")
    if not number.isdecimal() or len(digest) != 65:
        return None
    return int(number), digest.rstrip("\n")


def _interrupted() -> OSError:
    """Of a record whose writer was stopped by what stops a process."""
    return OSError(errno.EINTR, "the thread that wrote was interrupted")


def _write(fd: int, guard: int, after: tuple[int, str], records: list[bytes]) -> tuple[int, str]:
    """Write records, then the head; returns the number and hash of the last one."""
    (seq, digest), lines = after, []
    for content in records:
        seq += 1
        line, digest = line_of(content, seq=seq, prev=digest)
        lines.append(line)
    data = b"".join(lines)
    while data:
        data = data[os.write(fd, data) :]
    os.pwrite(guard, _HEAD_FORMAT.format(seq, digest).encode(), 0)
    return seq, digest


def _tail(fd: int) -> bytes:
    """The end of a file, from before its last whole line on."""
    size = os.fstat(fd).st_size
    length = TAIL_BYTES
    while True:
        start = max(0, size - length)
        tail = os.pread(fd, size - start, start)
        if start == 0 or tail.count(b"\n") > 1:
            return tail
        length *= 8


def _last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return _tail(file.fileno()).rstrip(b"\n").rpartition(b"\n")[2]
