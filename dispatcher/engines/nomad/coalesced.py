"""One call for many requests."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Coalesced:
    """Calls a function some time after it was asked to, once for all that asked meanwhile."""

    def __init__(self, call: Callable[[], None], *, after_s: float) -> None:
        self._call, self._after_s = call, after_s
        self._lock = threading.Lock()
        self._asked = False

    def __call__(self) -> None:
        with self._lock:
            if self._asked:
                return
            self._asked = True
        timer = threading.Timer(self._after_s, self._fire)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # this process may have no more threads now
            self._fire()

    def _fire(self) -> None:
        with self._lock:
            self._asked = False
        self._call()
