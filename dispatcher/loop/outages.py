"""Outages of dependencies: which are down, since when, and when each may be retried."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

from dispatcher.errors import Dependency
from dispatcher.model.backoff import backoff_s
from dispatcher.model.health import Outage

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
RELAPSE_S = 60.0
"""Seconds after an outage's end within which another counts as the same."""


class Outages:
    """Back-off with jitter, separate for each dependency. Used by the loop's thread only, except
    ``resting``, which any thread may call.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._outages: dict[Dependency, Outage] = {}
        self._over: dict[Dependency, tuple[Outage, float]] = {}  # and when each ended

    def failed(self, dependency: Dependency, error: Exception) -> bool:
        """Note a failure; True if it is the first of an outage.

        Failures of concurrent calls count once: the pause grows only after the last one is over.
        """
        current = self._outages.get(dependency)
        now = self._clock()
        if current is not None and now < current.again_at:
            return False
        before, ended_at = self._over.pop(dependency, (None, 0.0))
        relapse = before if now - ended_at < RELAPSE_S else None
        tries = (current.tries if current else relapse.tries if relapse else 0) + 1
        pause = backoff_s(FIRST_PAUSE_S, LONGEST_PAUSE_S, tries)
        self._outages[dependency] = Outage(
            since=current.since if current else time.time(),
            error=str(error),
            tries=tries,
            again_at=now + pause * random.uniform(0.7, 1.3),  # noqa: S311 - jitter, not a secret
        )
        return current is None

    def answered(self, dependency: Dependency, *, proven: bool = True) -> bool:
        """Note an answer; True if it ends an outage.

        Args:
            proven: whether the call was what the dependency is needed for. A ledger on a full
                disk can be read, and a remote that refuses every push can be fetched from: if it
                fails again soon after such an answer, the pauses keep growing.
        """
        outage = self._outages.pop(dependency, None)
        if proven:
            self._over.pop(dependency, None)
        elif outage is not None:
            self._over[dependency] = (outage, self._clock())
        return outage is not None

    def wake(self, dependency: Dependency) -> None:
        """End the pause of a dependency that is down, because it may have recovered."""
        outage = self._outages.get(dependency)
        if outage is not None:
            self._outages[dependency] = replace(outage, again_at=self._clock())

    def resting(self) -> frozenset[Dependency]:
        """Dependencies that are backing off and must not be called now."""
        now = self._clock()
        outages = list(self._outages.items())  # a copy: other threads change it meanwhile
        return frozenset(d for d, outage in outages if now < outage.again_at)

    def outages(self) -> dict[Dependency, Outage]:
        """All dependencies that are down, backing off or not."""
        return dict(self._outages)

    def next_try_in(self) -> float | None:
        """Seconds until the next pause ends; None if there is none."""
        now = self._clock()
        pauses = [o.again_at - now for o in self._outages.values()]
        return min((pause for pause in pauses if pause > 0), default=None)
