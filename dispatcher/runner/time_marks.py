"""The runner's side of ``dispatcher.model.time_index``: at most one small write a second and stream."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from dispatcher.model.time_index import PRECISION_S, encode_mark


class TimeMarks:
    """The index of one stream. A failure costs the run only the index.

    Args:
        path: of the index; what is there is replaced.
    """

    def __init__(self, path: str) -> None:
        self._fd = -1
        self._marked_at = 0.0
        self._offset = 0
        self._line_start = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with suppress(OSError):
            self._fd = os.open(path, flags | os.O_NONBLOCK, 0o644)
        self.note(b"")  # so that an index is never empty, except an abandoned one

    def note(self, data: bytes) -> None:
        """These bytes are about to be written."""
        if self._fd < 0:
            return
        now = time.time()
        if not 0 <= now - self._marked_at < PRECISION_S:
            self._mark(now)
        newline = data.rfind(b"\n")
        if newline >= 0:
            self._line_start = self._offset + newline + 1
        self._offset += len(data)

    def _mark(self, now: float) -> None:
        self._marked_at = now
        mark = encode_mark(now, self._line_start)
        try:
            complete = os.write(self._fd, mark) == len(mark)
        except OSError:
            complete = False
        if not complete:  # an index with a gap would hide output; an empty one says that it is none
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1
