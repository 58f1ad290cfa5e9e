"""The bell: a file that other commands touch so that ``serve`` looks at once.

``disinto dispatch`` and ``disinto cancel`` ring it; without it they would wait for the next look
at the remote. A file and not a signal: a signal to a process id that was given anew could end a
stranger.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

NAME = "bell"

LISTEN_EVERY_S = 0.2


def notify(state_dir: Path) -> None:
    """Ring; nothing happens where nobody listens or the directory cannot be written."""
    with contextlib.suppress(OSError):
        (state_dir / NAME).touch()


class NudgeFile:
    """Calls ``answer`` soon after each ring. Use as a context manager.

    Args:
        state_dir: the dispatcher's state directory.
        answer: must be quick and thread-safe.
    """

    def __init__(self, state_dir: Path, answer: Callable[[], None]) -> None:
        self._path = state_dir / NAME
        self._answer = answer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="bell", daemon=True)

    def __enter__(self) -> NudgeFile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _listen(self) -> None:
        heard = self._rung_at()
        while not self._ended.wait(LISTEN_EVERY_S):
            rung = self._rung_at()
            if rung != heard:
                heard = rung
                self._answer()

    def _rung_at(self) -> int:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0
