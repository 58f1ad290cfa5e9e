"""The formula's output streams: from its pipes through the redactors to the logs.

A slow or full destination blocks the formula, never the runner: timeouts and cancellation keep
working, because nothing here blocks.
"""

from __future__ import annotations

import hashlib
import os
import select
import stat
from contextlib import suppress

from dispatcher.runner.outcome import Tail
from dispatcher.runner.redact import Redactor
from dispatcher.runner.time_marks import TimeMarks

READ_BYTES = 256 * 1024
_PENDING_LIMIT = 256 * 1024
_PIPE_PIECE = 4096  # PIPE_BUF: a pipe that polls writable takes as much without blocking


SHORT_BYTES = 4 * 1024
"""Bytes of a stream up to which its whole is in the outcome, so that no log has to be read for it."""


class Written:
    """Counts and digests what is written to a log: a formula may write there itself, and an engine
    may drop parts of it. Keeps the beginning.
    """

    def __init__(self) -> None:
        self._size, self._digest = 0, hashlib.sha256()
        self._beginning = b""

    def add(self, data: bytes) -> None:
        """Note what is written."""
        self._beginning += data[: max(0, SHORT_BYTES - self._size)]
        self._size += len(data)
        self._digest.update(data)

    @property
    def whole(self) -> bytes | None:
        """All of it; None if that is more than ``SHORT_BYTES``."""
        return self._beginning if self._size <= SHORT_BYTES else None

    @property
    def report(self) -> tuple[int, str]:
        """Bytes, and their SHA-256 (hex)."""
        return self._size, self._digest.hexdigest()


class FileSink:
    """A log file with a limit; the excess is dropped, which the file notes.

    Attributes:
        written: what is in the file.

    Args:
        fd: a regular file, or whatever else never blocks.
        limit: bytes kept, or 0 for no limit.
    """

    pending = b""

    def __init__(self, fd: int, *, limit: int = 0) -> None:
        self.fd = fd
        self.written = Written()
        self._limit = limit
        self._size = 0
        self._closed = False

    def write(self, data: bytes) -> None:
        if self._closed:
            return
        workspace = self._limit - self._size if self._limit else len(data)
        try:
            self._put(data[:workspace])
            if len(data) > workspace:
                self._closed = True
                note = f"\n[log truncated: more than {self._limit} bytes]\n"
                self._put(note.encode())
        except OSError:
            self._closed = True  # disk full, or the file is gone: the run itself continues
        self._size += len(data)

    def _put(self, data: bytes) -> None:
        self.written.add(data)
        _write_all(self.fd, data)

    def flush(self) -> None:
        """Nothing is pending."""


class PipeSink:
    """A descriptor that may block: bytes are buffered until it accepts them.

    Attributes:
        written: what was to be written; if the reader goes away, it gets less.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.written = Written()
        self.pending = b""
        self._ready = select.poll()
        self._ready.register(fd, select.POLLOUT)
        self._broken = False

    def write(self, data: bytes) -> None:
        if not self._broken:
            self.written.add(data)
            self.pending += data
            self.flush()

    def flush(self) -> None:
        """Write what can be written now."""
        view, at = memoryview(self.pending), 0
        try:
            while at < len(view) and self._ready.poll(0):
                at += os.write(self.fd, view[at : at + _PIPE_PIECE])
        except OSError:
            self._broken = True  # the reader is gone
            at = len(view)
        self.pending = bytes(view[at:])


Sink = FileSink | PipeSink


def sink_for(fd: int) -> Sink:
    """The fitting sink for one of the runner's own streams."""
    mode = os.fstat(fd).st_mode
    never_blocks = stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(fd))
    return FileSink(fd) if never_blocks else PipeSink(fd)


def log_file(path: str, *, limit: int) -> FileSink:
    """Open a log file for appending, readable only by its owner."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return FileSink(os.open(path, flags, 0o600), limit=limit)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Stream:
    """One of the formula's two streams.

    Attributes:
        source: the end of the pipe to read, -1 once it is closed.
        child_end: the end that the formula gets; closed by ``started``.
    """

    def __init__(self, redactor: Redactor, sink: Sink, tail: Tail, marks: TimeMarks) -> None:
        self.source, self.child_end = os.pipe()
        os.set_blocking(self.source, False)
        self.sink = sink
        self._redactor = redactor
        self._tail = tail.channel()
        self._marks = marks
        with suppress(OSError, ImportError, AttributeError):
            import fcntl

            fcntl.fcntl(self.source, fcntl.F_SETPIPE_SZ, READ_BYTES)

    def started(self) -> None:
        """The formula has inherited its end."""
        os.close(self.child_end)

    @property
    def reading(self) -> bool:
        """True while there may be more to read and the buffer has space."""
        return self.source >= 0 and len(self.sink.pending) < _PENDING_LIMIT

    def read(self) -> None:
        """Take one piece."""
        try:
            data = os.read(self.source, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._pass_on(self._redactor.feed(data) if data else self._redactor.finish())
        if not data:
            self._close()

    def give_up(self) -> None:
        """Stop reading, even if the other end is still open."""
        if self.source >= 0:
            self._pass_on(self._redactor.finish())
            self._close()

    def _pass_on(self, data: bytes) -> None:
        if data:
            self._tail(data)
            self._marks.note(data)  # first, so that no byte is written without its mark
            self.sink.write(data)

    def _close(self) -> None:
        os.close(self.source)
        self.source = -1
