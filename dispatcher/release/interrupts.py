"""Signals that end a deploy: they begin the return to the safe commit, and never end it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal that asks the process to end arrived while something was being changed."""


class Interrupts:
    """Whether a signal interrupts now.

    Attributes:
        arrived: the first signal, as text; "" if none did.
    """

    def __init__(self) -> None:
        self.arrived = ""
        self._armed = False

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Within, a signal raises ``Interrupted``, once, also one that was noted before; outside, it is
        only noted.
        """
        if self.arrived:
            raise Interrupted(f"interrupted by {self.arrived}")
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Within, signals come here."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.signal(number, self._arrive) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _arrive(self, number: int, _frame: FrameType | None) -> None:
        self.arrived = self.arrived or signal.Signals(number).name
        if self._armed:
            self._armed = False
            raise Interrupted(f"interrupted by {self.arrived}")
