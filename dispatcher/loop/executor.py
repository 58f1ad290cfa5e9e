"""The executor: work on other threads that comes back as an event on the loop's thread."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Event = Callable[[], None]
T = TypeVar("T")

ERRAND_THREADS = 4


class Executor:
    """Three pools and one queue of events.

    Args:
        workers: threads for steps, and as many for questions.
    """

    def __init__(self, workers: int) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._steps = ThreadPoolExecutor(workers, thread_name_prefix="step")
        self._questions = ThreadPoolExecutor(workers, thread_name_prefix="question")
        self._pollers = ThreadPoolExecutor(ERRAND_THREADS, thread_name_prefix="errand")

    def post(self, event: Event) -> None:
        """Let the loop run ``event``. Callable from any thread; never blocks."""
        self._events.put(event)

    def step(
        self, act: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """Run ``act`` on a thread for steps; then ``done`` or ``failed`` on the loop's."""
        self._steps.submit(self._go, act, done, failed)

    def question(
        self, ask: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """The same on a thread for gates and reports: there may be thousands of them, and a forge
        that hangs must hold up neither steps nor errands.
        """
        self._questions.submit(self._go, ask, done, failed)

    def errand(
        self, ask: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """The same on a thread for errands: a dependency that hangs must not hold up the steps of
        the others.
        """
        self._pollers.submit(self._go, ask, done, failed)

    def attend(self, timeout_s: float, *, gather_s: float = 0.0) -> None:
        """Wait for an event, then run all that are there. Exceptions of events pass through.

        Args:
            timeout_s: how long to wait for the first.
            gather_s: how long to go on waiting for more, so that a busy loop does not go round
                for each.
        """
        try:
            event = self._events.get(timeout=timeout_s)
            until = time.monotonic() + gather_s
            while True:
                event()
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return

    def dismiss(self) -> None:
        """Wait for the steps under way; what has not begun is dropped. Questions and errands are
        left behind: they write nothing without the lead.
        """
        self._steps.shutdown(wait=True, cancel_futures=True)
        self._questions.shutdown(wait=False, cancel_futures=True)
        self._pollers.shutdown(wait=False, cancel_futures=True)

    def _go(
        self, act: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        try:
            answer = act()
        except Exception as error:  # noqa: BLE001 - handed on whole; ``failed`` decides
            trouble = error
            self.post(lambda: failed(trouble))
        else:
            self.post(lambda: done(answer))
