"""The notifier: follows a service, and makes notices of what its sinks want.

The control loop passes it states and events without blocking; its own thread makes notices of them
and stores them. How an action ended is also stored before its claim is released (``record``), so that
a crash loses no such notice.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping

from dispatcher.model.health import WaitingFor
from dispatcher.model.notice import Condition, Notice
from dispatcher.model.result import Result, ended_result
from dispatcher.model.run import Phase
from dispatcher.model.times import rfc3339
from dispatcher.notify.base import Sink
from dispatcher.notify.conditions import Episode, Notices, outages, wanted
from dispatcher.notify.sender import Sender
from dispatcher.notify.store import SinkState, Store
from dispatcher.settings import NotifySettings
from dispatcher.status.tracker import Silent, Status, Tracker

PAUSE_S = 1.0
"""Shortest time between two checks of the service's status."""

GRACE_S = 5.0
"""Seconds at the end in which queued notices may still be sent."""

REMEMBERED = 20_000
"""Waits, foreign results and ended runs that are cached as stored; beyond that, the store itself
recognises duplicates.
"""

PENDING = 1_000
"""Notices kept in memory while the store does not take them."""


_KeyedNotice = tuple[object, Notice]
"""A notice, and the key by which it is cached as stored."""


class Notifier:
    """See the module. A ``Tracker``; use as a context manager.

    Args:
        sinks: the tables ``[[notify]]``.
        store: where notices are written.
        notices: makes them.
        open_sink: opens a sink.
        tracker: notified of sinks that fail.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        sinks: Collection[NotifySettings],
        *,
        store: Store,
        notices: Notices,
        open_sink: Callable[[NotifySettings], Sink],
        tracker: Tracker | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._sinks, self._store, self._notices, self._wall = tuple(sinks), store, notices, wall
        self._tracker = tracker or Silent()
        self._senders = [self._sender(sink, open_sink) for sink in self._sinks]
        self._conditions = frozenset(condition for sink in self._sinks for condition in sink.on)
        self._latest: Status | None = None
        self._pending: deque[Notice] = deque(maxlen=PENDING)
        self._done: dict[object, None] = {}
        self._episodes: dict[str, Episode] | None = None
        self._trouble = ""
        self._states: Mapping[str, SinkState] = {}
        self._leading = False
        self._news = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="notifier", daemon=True)

    # -- called by the control loop and its threads -----------------------------------------

    def status(self, status: Status) -> None:
        """Take the status after a round. Never blocks."""
        self._latest = status
        self._news.set()

    def event(self, name: str, /, **facts: object) -> None:  # noqa: ARG002 - of no use here
        """``leading`` begins the sending; the others are no news. Never blocks."""
        if name == "leading":
            self._leading = True
            self._news.set()

    def record(self, result: Result) -> None:
        """Store the notice of how an action ended, before its claim is released. It is on disk when
        this returns, or kept in memory if the disk fails. Raises nothing.
        """
        if Condition(result.verdict.value) in self._conditions:
            self._keep([self._notices.of_result(result)])

    # -- for people --------------------------------------------------------------------------

    def warnings(self) -> tuple[str, ...]:
        """Warnings about sinks that fail. Never blocks."""
        states = self._states
        failing = [sentence for sink in self._sinks if (sentence := failure(states.get(sink.name)))]
        trouble = self._trouble
        return (*failing, *((trouble,) if trouble else ()))

    # -- the thread --------------------------------------------------------------------------

    def __enter__(self) -> Notifier:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._news.set()
        self._thread.join()
        if self._leading:
            until = time.monotonic() + GRACE_S
            for sender in self._senders:
                sender.look()
            for sender in self._senders:
                sender.settle(max(0.0, until - time.monotonic()))
        for sender in self._senders:
            sender.stop()

    def _work(self) -> None:
        started = False
        while not self._ended.is_set():
            self._news.wait(LOOK_S)
            self._news.clear()
            if self._leading and not started:
                started = True
                self._begin()
            self._look()
            self._ended.wait(PAUSE_S)
        self._look()

    def _begin(self) -> None:
        try:
            self._store.keep_only(sink.name for sink in self._sinks)
        except (sqlite3.Error, OSError) as error:
            self._no_store(error)
        for sender in self._senders:
            sender.start()

    def _look(self) -> None:
        try:
            self._look_at(self._latest)
            self._states = self._store.states()
        except (sqlite3.Error, OSError) as error:
            self._no_store(error)
        except Exception as error:  # noqa: BLE001 - this thread must live
            self._tracker.event("defect", where="notifier", error=error)

    def _look_at(self, status: Status | None) -> None:
        now, made = self._wall(), []
        while self._pending:
            made.append(self._pending.popleft())
        if made:
            self._keep(made)
        if status is None or not self._leading:
            return
        keyed = [
            *self._waits(status, now),
            *self._emergencies(status),
            *self._foreign(status, now),
            *self._results(status),
        ]
        self._keep([notice for _, notice in keyed])
        for key, _ in keyed:
            self._remember(key)
        self._look_at_outages(status, now)

    def _waits(self, status: Status, now: float) -> Iterator[_KeyedNotice]:
        """Notices of actions that newly wait for approval."""
        if Condition.WAITS_FOR_APPROVAL not in self._conditions:
            return
        for wait in status.plan.waits:
            if wait.waiting_for is not WaitingFor.APPROVAL:
                continue
            candidate = status.candidates.get(wait.action_id)
            if candidate is None or candidate.key in self._done:
                continue
            yield candidate.key, self._notices.of_wait(wait, candidate, now=now)

    def _emergencies(self, status: Status) -> Iterator[_KeyedNotice]:
        """Notices of runs that started in a freeze."""
        if Condition.EMERGENCY not in self._conditions:
            return
        for claim in status.claims.values():
            key = (claim.key, Condition.EMERGENCY)
            if claim.emergency and key not in self._done:
                yield key, self._notices.of_emergency(claim)

    def _foreign(self, status: Status, now: float) -> Iterator[_KeyedNotice]:
        """Notices of new foreign results."""
        if Condition.FOREIGN_RESULT in self._conditions:
            for foreign in status.foreign:
                if foreign not in self._done:
                    yield foreign, self._notices.of_foreign(foreign, now=now)

    def _results(self, status: Status) -> Iterator[_KeyedNotice]:
        """Notices of new verdicts."""
        for claim in status.claims.values():
            key = (claim.key, claim.phase)
            if claim.phase is not Phase.ENDED or claim.stopped or key in self._done:
                continue
            result = ended_result(claim)
            if result is None or Condition(result.verdict.value) not in self._conditions:
                self._remember(key)
            else:
                yield key, self._notices.of_result(result)

    def _look_at_outages(self, status: Status, now: float) -> None:
        if not self._conditions & {Condition.DEPENDENCY_DOWN, Condition.DEPENDENCY_UP}:
            return
        if self._episodes is None:
            self._episodes = self._store.episodes()
        down = {str(d): (outage.since, outage.error) for d, outage in status.outages.items()}
        if not status.head:  # nothing was asked yet, so that nothing is known to be up
            down = {**{name: (e.since, "") for name, e in self._episodes.items()}, **down}
        episodes, made = outages(self._notices, down, self._episodes, now=now)
        if episodes != self._episodes:
            self._store.add(wanted(self._sinks, made), episodes=episodes)
            self._episodes = episodes
            self._wake()

    def _keep(self, made: list[Notice]) -> None:
        entries = list(wanted(self._sinks, made))
        try:
            if entries and self._store.add(entries):
                self._wake()
            self._trouble = ""
        except (sqlite3.Error, OSError) as error:
            self._pending.extend(made)
            self._no_store(error)

    def _no_store(self, error: Exception) -> None:
        trouble = f"notifications cannot be stored: {error}"
        if trouble != self._trouble:
            self._trouble = trouble
            self._tracker.event("trouble", error=trouble)

    def _remember(self, key: object) -> None:
        self._done[key] = None
        if len(self._done) > REMEMBERED:
            del self._done[next(iter(self._done))]

    def _wake(self) -> None:
        for sender in self._senders:
            sender.look()

    def _sender(
        self, settings: NotifySettings, open_sink: Callable[[NotifySettings], Sink]
    ) -> Sender:
        def summary(unsent: Mapping[str, int], serial: int) -> Notice:
            return self._notices.of_unsent(settings.name, unsent, serial=serial, now=self._wall())

        return Sender(
            settings,
            lambda: open_sink(settings),
            self._store,
            summary=summary,
            cleaner=self._notices.cleaner,
            report=self._tracker.event,
            wall=self._wall,
        )


LOOK_S = 5.0
"""Seconds after which the states of sinks are read even if nothing happened."""


def failure(state: SinkState | None) -> str:
    """The failure of a sink, as a sentence; "" if there is none."""
    if state is None or not state.failing_since:
        return ""
    return (
        f"notifications to {state.name} have not been delivered since "
        f"{rfc3339(state.failing_since)}: {state.error.rstrip('.')}. {state.waiting} wait, "
        f"{state.dropped} were dropped"
    )
