"""Pollers: questions to the world, each under way once at a time, and what their failures mean."""

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
"""Longest pause before an errand is run again that failed for a reason that is no outage."""


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
        """Another failure."""
        self._pause_s = min(self._longest_s, self._pause_s * 2 or self._first_s)
        self._again_at = self._clock() + self._pause_s

    def succeeded(self) -> None:
        """No pause any more."""
        self._pause_s = self._again_at = 0.0

    def left(self) -> float:
        """Seconds until the next try."""
        return max(0.0, self._again_at - self._clock())


class Pollers:
    """Runs each kind of question to the world once at a time. Used by the loop's thread only.

    Args:
        executor: who runs them.
        outages: those that are down, which are left alone for a while.
        tracker: told of an outage's first failure and of its end.
    """

    def __init__(self, executor: Executor, outages: Outages, tracker: Tracker) -> None:
        self._executor, self._outages, self._tracker = executor, outages, tracker
        self._away: set[str] = set()
        self._failures = Retries(longest_s=LONGEST_PAUSE_S)

    def __bool__(self) -> bool:
        """Whether any is under way."""
        return bool(self._away)

    def free(self, dependency: Dependency | None, name: str = "") -> bool:
        """Whether an errand can be run now."""
        key = name or dependency or ""
        blocked = key in self._away or key in self._failures.paused()
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
        """Begin one, where it is free.

        Args:
            dependency: whom it asks; None for what is answered on this machine.
            ask: run on a thread for errands.
            learn: run on the loop's thread with the answer.
            name: of the errand, where the dependency has several kinds of them.
            failed: run on the loop's thread after a failure, which is told in any case.
        """
        key = name or dependency or ""
        if not self.free(dependency, key):
            return
        self._away.add(key)

        def done(answer: T) -> None:
            self._away.discard(key)
            if dependency is not None:
                self.back(dependency, proven=False)
            try:
                learn(answer)
            except Exception as error:  # noqa: BLE001 - one errand's; the loop goes on
                self._failed(key, error, dependency=None)
                failed(error)
            else:
                self._failures.succeeded(key)

        def broke(error: Exception) -> None:
            self._away.discard(key)
            self._failed(key, error, dependency=dependency)
            failed(error)

        self._executor.errand(ask, done, broke)

    def _failed(self, name: str, error: Exception, *, dependency: Dependency | None) -> None:
        """An outage is its dependency's, which rests; for anything else the errand itself does."""
        outage = isinstance(error, Unavailable | Denied) or (dependency and not unexpected(error))
        if not outage and not isinstance(error, LeadLost):
            self._failures.failed(name, error)
        self.trouble(error, dependency, where=f"errand {name}")

    def errors(self) -> Mapping[str, str]:
        """Why errands failed that are run again, by name; outages are not among them."""
        return self._failures.errors()

    def hopeless(self, tries: int) -> Exception | None:
        """The error of an errand that failed so often in a row, outages apart; or None."""
        return self._failures.hopeless(tries)

    def next_try_in(self) -> float | None:
        """Seconds until the first pause of an errand that is not over ends; None without one."""
        return self._failures.next_try_in()

    def back(self, dependency: Dependency, *, proven: bool) -> None:
        """A dependency answered; see ``Outages.answered``."""
        if self._outages.answered(dependency, proven=proven):
            self._tracker.event("back", dependency=dependency)

    def trouble(
        self, error: Exception, dependency: Dependency | None = None, *, where: str = ""
    ) -> None:
        """A failure, of a dependency where one is to blame: back off, and say so once. What is
        unexpected is nobody's outage.
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
