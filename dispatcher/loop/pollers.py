"""Runs pollers, each kind once at a time, and classifies their failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from dispatcher.errors import Denied, Dependency, Unavailable, unexpected
from dispatcher.loop.effects.acting import LeadLost
from dispatcher.loop.executor import Executor
from dispatcher.loop.outages import Outages
from dispatcher.loop.retries import Retries
from dispatcher.status.tracker import Tracker

T = TypeVar("T")

LONGEST_PAUSE_S = 30.0
"""Longest pause before a poller is retried that failed for another reason than an outage."""


class Pauses:
    """Growing pauses after failures in a row.

    Args:
        first_s, longest_s: seconds.
    """

    def __init__(
        self, first_s: float, longest_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first_s, self._longest_s, self._clock = first_s, longest_s, clock
        self._pause_s, self._again_at = 0.0, 0.0

    def failed(self, _error: Exception) -> None:
        """Note a failure: the pause doubles."""
        self._pause_s = min(self._longest_s, self._pause_s * 2 or self._first_s)
        self._again_at = self._clock() + self._pause_s

    def succeeded(self) -> None:
        """End the pause."""
        self._pause_s = self._again_at = 0.0

    def left(self) -> float:
        """Seconds until the next try."""
        return max(0.0, self._again_at - self._clock())


class Pollers:
    """Runs each kind of poller once at a time. Used by the loop's thread only.

    Args:
        executor: runs them.
        outages: dependencies that are down; their pollers pause.
        tracker: notified of an outage's first failure and of its end.
    """

    def __init__(self, executor: Executor, outages: Outages, tracker: Tracker) -> None:
        self._executor, self._outages, self._tracker = executor, outages, tracker
        self._running: set[str] = set()
        self._failures = Retries(longest_s=LONGEST_PAUSE_S)

    def __bool__(self) -> bool:
        """Whether any poller is running."""
        return bool(self._running)

    def free(self, dependency: Dependency | None, name: str = "") -> bool:
        """Whether a poller can be run now."""
        key = name or dependency or ""
        blocked = key in self._running or key in self._failures.paused()
        return not blocked and dependency not in self._outages.resting()

    def run(
        self,
        dependency: Dependency | None,
        ask: Callable[[], T],
        learn: Callable[[T], None],
        *,
        name: str = "",
        failed: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        """Begin a poller, if it is free.

        Args:
            dependency: that it calls; None if it needs this machine only.
            ask: run on a thread for pollers.
            learn: run on the loop's thread with the answer.
            name: of the poller, if the dependency has several.
            failed: run on the loop's thread after a failure, which is reported in any case.
        """
        key = name or dependency or ""
        if not self.free(dependency, key):
            return
        self._running.add(key)

        def done(answer: T) -> None:
            self._running.discard(key)
            if dependency is not None:
                self.back(dependency, proven=False)
            try:
                learn(answer)
            except Exception as error:  # noqa: BLE001 - one poller's; the loop continues
                self._failed(key, error, dependency=None)
                failed(error)
            else:
                self._failures.succeeded(key)

        def broke(error: Exception) -> None:
            self._running.discard(key)
            self._failed(key, error, dependency=dependency)
            failed(error)

        self._executor.poll(ask, done, broke)

    def _failed(self, name: str, error: Exception, *, dependency: Dependency | None) -> None:
        """After an outage its dependency pauses; after any other failure the poller itself does."""
        outage = isinstance(error, Unavailable | Denied) or (dependency and not unexpected(error))
        if not outage and not isinstance(error, LeadLost):
            self._failures.failed(name, error)
        self.trouble(error, dependency, where=f"errand {name}")

    def errors(self) -> Mapping[str, str]:
        """Why pollers failed that will be retried, by name; without outages."""
        return self._failures.errors()

    def hopeless(self, tries: int) -> Exception | None:
        """The error of a poller that failed this often in a row, outages excluded; or None."""
        return self._failures.hopeless(tries)

    def next_try_in(self) -> float | None:
        """Seconds until the next pause of a poller ends; None without one."""
        return self._failures.next_try_in()

    def back(self, dependency: Dependency, *, proven: bool) -> None:
        """A dependency answered; see ``Outages.answered``."""
        if self._outages.answered(dependency, proven=proven):
            self._tracker.event("back", dependency=dependency)

    def trouble(
        self, error: Exception, dependency: Dependency | None = None, *, where: str = ""
    ) -> None:
        """Report a failure. If a dependency is to blame, back off, and report that once. Unexpected
        errors are no outage.
        """
        if isinstance(error, LeadLost):
            return  # the loop notices by itself
        if unexpected(error):
            self._tracker.event("defect", where=where, error=error)
            return
        if isinstance(error, Unavailable | Denied):
            dependency = error.dependency
        if dependency is None:
            self._tracker.event("trouble", error=error)
        elif self._outages.failed(dependency, error):
            self._tracker.event("down", dependency=dependency, error=error)
