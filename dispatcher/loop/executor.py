"""The executor: runs calls on other threads and returns their results as events of the loop."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Event = Callable[[], None]
T = TypeVar("T")

POLLER_THREADS = 4


class Executor:
    """Three thread pools and one queue of events.

    Args:
        workers: threads for steps, and as many for questions.
    """

    def __init__(self, workers: int) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._steps = ThreadPoolExecutor(workers, thread_name_prefix="step")
        self._questions = ThreadPoolExecutor(workers, thread_name_prefix="question")
        self._pollers = ThreadPoolExecutor(POLLER_THREADS, thread_name_prefix="poller")

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
        that hangs must hold up neither steps nor pollers.
        """
        self._questions.submit(self._go, ask, done, failed)

    def poll(
        self, ask: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """The same on a thread for pollers: a dependency that hangs must not hold up the steps of
        the others.
        """
        self._pollers.submit(self._go, ask, done, failed)

    def attend(self, timeout_s: float, *, gather_until: float = 0.0) -> None:
        """Wait for an event, then run all that are queued. Exceptions of events propagate.

        Args:
            timeout_s: how long to wait for the first.
            gather_until: monotonic time until which more are waited for after the first, so that a
                busy loop does not run one round per event.
        """
        try:
            event = self._events.get(timeout=timeout_s)
            while True:
                event()
                event = self._events.get(timeout=max(0.0, gather_until - time.monotonic()))
        except queue.Empty:
            return

    def dismiss(self) -> None:
        """Wait for the steps in progress; steps that have not begun are dropped. Questions and
        pollers are not waited for: they write nothing without the lead.
        """
        self._steps.shutdown(wait=True, cancel_futures=True)
        self._questions.shutdown(wait=False, cancel_futures=True)
        self._pollers.shutdown(wait=False, cancel_futures=True)

    def _go(
        self, act: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        try:
            answer = act()
        except Exception as error:  # noqa: BLE001 - passed on; ``failed`` decides
            trouble = error
            self.post(lambda: failed(trouble))
        else:
            self.post(lambda: done(answer))
