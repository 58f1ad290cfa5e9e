"""The sender: one thread per sink, so that a slow sink delays no other."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping

from dispatcher.errors import DisintoError, describe
from dispatcher.model.backoff import backoff_s
from dispatcher.model.notice import Notice
from dispatcher.notify.base import MessageRefused, Sink, SinkUnavailable
from dispatcher.notify.store import Queued, Store
from dispatcher.notify.text import Cleaner
from dispatcher.settings import NotifySettings

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
LOOK_EVERY_S = 30.0
"""Seconds after which a sender checks the store even if it was not notified."""

REFUSALS = 3
"""Attempts after which a message is given up that the server rejects."""

Report = Callable[..., None]
"""``report(event, **facts)``: as ``Tracker.event``."""


class Sender:
    """Sends the stored notices of one sink, the oldest first, one at a time.

    Args:
        settings: of the sink.
        sink: opens it; may raise ``Misconfigured``, which is retried like any failure.
        store: holds what is to be sent.
        summary: makes the summary of what was not sent, from counts and a serial number.
        cleaner: for errors that are stored and shown.
        report: called with failures, once for several in a row.
        wall: seconds since the epoch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: NotifySettings,
        sink: Callable[[], Sink],
        store: Store,
        *,
        summary: Callable[[Mapping[str, int], int], Notice],
        cleaner: Cleaner,
        report: Report,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = settings.name
        self._settings, self._open, self._store = settings, sink, store
        self._summary, self._cleaner, self._report = summary, cleaner, report
        self._wall, self._clock = wall, clock
        self._sink: Sink | None = None
        self._failures = 0
        self._again_at = 0.0
        self._unrecorded: tuple[int, str] | None = None  # sent, but not recorded in the store
        self._news = threading.Event()
        self._idle = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"notify-{self.name}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def look(self) -> None:
        """Have the store checked, because there may be something to send. Never blocks."""
        self._idle.clear()
        self._news.set()

    def stop(self) -> None:
        """Send nothing more; returns at once, without waiting for a message in progress."""
        self._stopping.set()
        self._news.set()

    def settle(self, timeout_s: float) -> None:
        """Wait until there is nothing to send or the sink fails, at most ``timeout_s``."""
        if self._thread.is_alive() and self._again_at <= self._clock():
            self._idle.wait(timeout_s)

    def turn(self) -> float:
        """Send at most one notice; returns the seconds until there may be another to send."""
        try:
            return self._turn()
        except (sqlite3.Error, OSError) as error:
            return self._failed(f"the store of notifications failed: {error}", 0.0)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            pause_s = self.turn()
            if pause_s > 0:
                if not self._news.is_set():
                    self._idle.set()
                self._news.wait(pause_s)
                # New notices do not end a back-off.
                pause_left_s = self._again_at - self._clock()
                if pause_left_s > 0:
                    self._stopping.wait(pause_left_s)

    def _turn(self) -> float:
        now = self._wall()
        if self._unrecorded is not None:
            number, warning = self._unrecorded
            self._store.sent(self.name, number, warning=warning, now=now)
            self._unrecorded = None
        allowance, left_s = self._store.allowance(
            self.name, per_minute=self._settings.per_minute, now=now
        )
        if allowance == 0:
            self._store.hold_back(self.name)
            return min(LOOK_EVERY_S, left_s)
        self._store.summarize(self.name, self._summary)
        queued = self._store.next(self.name)
        return LOOK_EVERY_S if queued is None else self._send(queued)

    def _send(self, queued: Queued) -> float:
        try:
            if self._sink is None:
                self._sink = self._open()
            warning = self._cleaner.line(self._sink.send(queued.notice))
        except MessageRefused as error:
            return self._refused(queued, str(error))
        except DisintoError as error:
            self._sink = None  # its template or certificate may be another by then
            retry_after_s = error.retry_after_s if isinstance(error, SinkUnavailable) else 0.0
            return self._failed(str(error), retry_after_s)
        except Exception as error:  # noqa: BLE001 - this thread must live
            # It may be one message's, which must not hold up all others.
            self._report("defect", where=f"sink {self.name}", error=error)
            return self._refused(queued, describe(error))
        self._failures = 0
        self._unrecorded = (queued.number, warning)
        self._store.sent(self.name, queued.number, warning=warning, now=self._wall())
        self._unrecorded = None
        return 0.0

    def _refused(self, queued: Queued, error: str) -> float:
        text = self._cleaner.line(error, 500)
        if not self._store.refused(self.name, queued.number, text, tries=REFUSALS):
            return self._pause(0.0)
        self._report("notice_refused", sink=self.name, notice=queued.notice.id, error=text)
        self._failures = 0
        return 0.0

    def _failed(self, error: str, retry_after_s: float) -> float:
        text = self._cleaner.line(error, 500)
        if self._failures == 0:
            self._report("notify_failed", sink=self.name, error=text)
        with contextlib.suppress(sqlite3.Error, OSError):  # then the log has it alone
            self._store.failed(self.name, text, now=self._wall())
        return self._pause(retry_after_s)

    def _pause(self, retry_after_s: float) -> float:
        self._failures += 1
        pause_s = backoff_s(FIRST_PAUSE_S, LONGEST_PAUSE_S, self._failures)
        pause_s = max(pause_s * random.uniform(0.7, 1.3), retry_after_s)  # noqa: S311 - jitter
        self._again_at = self._clock() + pause_s
        return pause_s
