"""The nudge file: other commands touch it so that ``serve`` polls at once.

``disinto dispatch`` and ``disinto cancel`` touch it; without it they would wait for the next poll of
the remote. It is a file and not a signal, because a signal to a process id that was reused could kill
another process.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

NAME = "bell"
"""File name, in the state directory."""

LISTEN_EVERY_S = 0.2


def nudge(state_dir: Path) -> None:
    """Touch the file; no effect if no ``serve`` watches it or the directory is not writable."""
    with contextlib.suppress(OSError):
        (state_dir / NAME).touch()


class NudgeFile:
    """Calls ``answer`` soon after each touch of the file. Use as a context manager.

    Args:
        state_dir: the dispatcher's state directory.
        answer: must be quick and thread-safe.
    """

    def __init__(self, state_dir: Path, answer: Callable[[], None]) -> None:
        self._path = state_dir / NAME
        self._answer = answer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="nudge", daemon=True)

    def __enter__(self) -> NudgeFile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _listen(self) -> None:
        last = self._touched_at()
        while not self._ended.wait(LISTEN_EVERY_S):
            touched = self._touched_at()
            if touched != last:
                last = touched
                self._answer()

    def _touched_at(self) -> int:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0
