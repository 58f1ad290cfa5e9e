"""Follows ``$DISINTO_PROGRESS``, which the formula appends to, and leaves its last line for the engine.

The formula may put anything in the file's place, and may make it as large as the disk: nothing is opened
that could block, and only the end is read.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress

from dispatcher.model.payload import authenticate
from dispatcher.model.progress import LINE_BYTES, Progress, encode_progress, read_line
from dispatcher.runner.outcome import harmless
from dispatcher.runner.redact import Secrets

EVERY_S = 1.0
"""Seconds between two reads."""

_TAIL_BYTES = 2 * LINE_BYTES  # contains the whole last line, if it has a length that counts
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ProgressFile:
    """The progress of one run. A failure costs the run only its progress.

    Args:
        source: the formula's file.
        target: the engine's.
        secrets: redacted.
        key: authenticates what is written; see ``RunSpec.outcome_key``.
    """

    def __init__(self, source: str, target: str, *, secrets: Secrets, key: str) -> None:
        self._source, self._target = source, target
        self._secrets, self._key = secrets, key
        self._stamp: tuple[int, ...] = ()
        self._written: Progress | None = None

    def look(self) -> None:
        """Pass on the last line, if it changed."""
        with suppress(OSError):
            line = self._last_line()
            if line is None:
                return
            progress = read_line(line, at=time.time(), clean=self._clean)
            if progress is not None and not _same(progress, self._written):
                self._write(progress)
                self._written = progress

    def _clean(self, text: str) -> str:
        return self._secrets.redact_text(harmless(self._secrets.redact_text(text)))

    def _last_line(self) -> bytes | None:
        """The last complete line; None if the file did not change, or is none."""
        fd = os.open(self._source, _FLAGS)
        try:
            state = os.fstat(fd)
            stamp = (state.st_ino, state.st_size, state.st_mtime_ns)
            if not stat.S_ISREG(state.st_mode) or stamp == self._stamp:
                return None
            self._stamp = stamp
            tail = os.pread(fd, _TAIL_BYTES, max(0, state.st_size - _TAIL_BYTES))
        finally:
            os.close(fd)
        lines = [line for line in tail.split(b"\n")[:-1] if line.strip()]
        return lines[-1] if lines else None

    def _write(self, progress: Progress) -> None:
        """Replace the file whole, whatever is in its place."""
        unfinished = f"{self._target}.new"
        with suppress(FileNotFoundError):
            os.unlink(unfinished)  # noqa: PTH108 - pathlib is slow to load
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(unfinished, flags, 0o644), "wb") as file:  # noqa: PTH123
            file.write(authenticate(encode_progress(progress), self._key))
        os.rename(unfinished, self._target)  # noqa: PTH104


def _same(one: Progress, other: Progress | None) -> bool:
    return other is not None and (one.stage, one.percent, one.detail) == (
        other.stage,
        other.percent,
        other.detail,
    )
