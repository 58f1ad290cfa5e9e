"""Time as the programs see it: a clock whose pauses end when the run is cancelled, and patience."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol, TypeVar

from dispatcher.desktop.cloud import CloudBusy, CloudUnclear

_T = TypeVar("_T")

PAUSE_S = 3.0
"""Seconds between two requests for the same thing."""

LONGEST_PAUSE_S = 60.0
PATIENCE_S = 300.0
"""Seconds for which an unavailable provider is asked again."""


class Cancelled(Exception):
    """The run is to end: what was begun has to be cleaned up."""


class Clock(Protocol):
    """Seconds since the epoch, and pauses."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None:
        """Pause.

        Raises:
            Cancelled: the run is to end; not raised again, so that cleaning up may pause.
        """


class SystemClock:
    """The machine's clock. SIGTERM and SIGINT cancel: at the next pause, never within a request,
    so that its answer is not lost.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._raised = False

    def listen(self) -> None:
        """Take signals from here on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        if self._raised:
            time.sleep(seconds)
            return
        if self._requested.wait(seconds):
            self._raised = True
            raise Cancelled

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requested.set()


def patiently(call: Callable[[], _T], clock: Clock, *, patience_s: float = PATIENCE_S) -> _T:
    """Repeat a call that may safely be repeated, until the provider answers it.

    Raises:
        CloudBusy, CloudUnclear: the last one, after ``patience_s`` seconds.
        CloudRefused: at once.
    """
    until = clock.now() + patience_s
    pause = PAUSE_S
    while True:
        try:
            return call()
        except (CloudBusy, CloudUnclear) as error:
            wanted = error.retry_after_s if isinstance(error, CloudBusy) else None
            if clock.now() + (wanted or pause) > until:
                raise
            clock.sleep(wanted or pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
