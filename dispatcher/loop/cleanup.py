"""What the engine keeps of runs that nobody asks about any more: looked for from time to time, and
forgotten.

On Nomad they are finished jobs that were kept for people to look at, for long enough. Locally they
come from a dispatcher that thought it led after another had finished the run, or from a ledger
that was restored. Only runs whose result is in git are forgotten: without one, what the engine
keeps is what prevents a second start.
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
    """Lets the engine forget runs that nobody asks about any more. Used by the loop's thread only.

    Args:
        scheduler: what keeps runs.
        pollers: who asks it.
        led: raises where the lead is not held any more.
        every_s: seconds between two looks.
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
        self._left: list[RunKey] = []

    def work(self, *, published: Container[str], in_use: Collection[Container[str]]) -> None:
        """Begin the next step, if it is time.

        Args:
            published: ids with a result in git.
            in_use: ids with a claim, and those with a step under way.
        """
        if not self._pollers.free(Dependency.SCHEDULER, NAME):
            return
        if self._left:
            keys = [
                key
                for key in self._left
                if key.action_id in published and not any(key.action_id in ids for ids in in_use)
            ]
            self._left = []
            if keys:
                self._pollers.run(
                    Dependency.SCHEDULER,
                    lambda: self._forget(keys),
                    lambda _none: None,
                    name=NAME,
                )
        elif time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + self._every_s
            self._pollers.run(Dependency.SCHEDULER, self._scheduler.kept, self._found, name=NAME)

    def _found(self, keys: Collection[RunKey]) -> None:
        self._left = list(keys)

    def _forget(self, keys: Collection[RunKey]) -> None:
        for key in keys:
            self._led()
            self._scheduler.forget(Claim(key=key, phase=Phase.ENDED, commit=""))
