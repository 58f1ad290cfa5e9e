"""Periodic cleanup of finished runs that the engine still keeps.

On Nomad these are finished jobs that were retained for inspection for long enough. Locally they are
left by a dispatcher that believed it led after another had finished the run, or by a ledger that was
restored. Only runs whose result is in git are removed: without a result, what the engine keeps is
what prevents a second start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Container

from dispatcher.engines.base import Scheduler
from dispatcher.errors import Dependency
from dispatcher.loop.pollers import Pollers
from dispatcher.model.run import Claim, Phase, RunKey

NAME = "tidy"


class Cleanup:
    """Removes finished runs from the engine. Used by the loop's thread only.

    Args:
        scheduler: the engine.
        pollers: run the calls.
        led: raises if the lead is no longer held.
        every_s: seconds between two cleanups.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        pollers: Pollers,
        *,
        led: Callable[[], None],
        every_s: float,
    ) -> None:
        self._scheduler, self._pollers, self._led = scheduler, pollers, led
        self._every_s = every_s
        self._next_at = 0.0
        self._keys: list[RunKey] = []

    def work(self, *, published: Container[str], in_use: Collection[Container[str]]) -> None:
        """Begin the next step, if it is time.

        Args:
            published: ids with a result in git.
            in_use: ids with a claim, and ids with a step in progress.
        """
        if not self._pollers.free(Dependency.SCHEDULER, NAME):
            return
        if self._keys:
            keys = [
                key
                for key in self._keys
                if key.action_id in published and not any(key.action_id in ids for ids in in_use)
            ]
            self._keys = []
            if keys:
                self._pollers.run(
                    Dependency.SCHEDULER,
                    lambda: self._forget(keys),
                    lambda _none: None,
                    name=NAME,
                )
        elif time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + self._every_s
            self._pollers.run(Dependency.SCHEDULER, self._scheduler.kept, self._enter, name=NAME)

    def _enter(self, keys: Collection[RunKey]) -> None:
        self._keys = list(keys)

    def _forget(self, keys: Collection[RunKey]) -> None:
        for key in keys:
            self._led()
            self._scheduler.forget(Claim(key=key, phase=Phase.ENDED, commit=""))
