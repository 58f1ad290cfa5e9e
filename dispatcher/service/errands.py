"""Errands: questions to the world, each under way once at a time, and what their failures mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dispatcher.errors import Denied, Dependency, Unavailable
from dispatcher.service.crew import Crew
from dispatcher.service.dependencies import Dependencies
from dispatcher.service.watch import Watch

T = TypeVar("T")


class Errands:
    """Used by the loop's thread only.

    Args:
        crew: who runs them.
        dependencies: those that are down, which are left alone for a while.
        watch: told of an outage's first failure and of its end.
    """

    def __init__(self, crew: Crew, dependencies: Dependencies, watch: Watch) -> None:
        self._crew, self._dependencies, self._watch = crew, dependencies, watch
        self._away: set[str] = set()

    def __bool__(self) -> bool:
        """Whether any is under way."""
        return bool(self._away)

    def free(self, dependency: Dependency, name: str = "") -> bool:
        """Whether an errand can be run now."""
        away = (name or dependency) in self._away
        return not away and dependency not in self._dependencies.resting()

    def run(
        self,
        dependency: Dependency,
        ask: Callable[[], T],
        learn: Callable[[T], None],
        *,
        name: str = "",
    ) -> None:
        """Begin one, where it is free.

        Args:
            dependency: whom it asks.
            ask: run on a thread for errands.
            learn: run on the loop's thread with the answer.
            name: of the errand, where the dependency has several kinds of them.
        """
        name = name or dependency
        if not self.free(dependency, name):
            return
        self._away.add(name)

        def done(answer: T) -> None:
            self._away.discard(name)
            self.back(dependency, proven=False)
            learn(answer)

        def failed(error: Exception) -> None:
            self._away.discard(name)
            self.trouble(error, dependency)

        self._crew.errand(ask, done, failed)

    def back(self, dependency: Dependency, *, proven: bool) -> None:
        """A dependency answered; see ``Dependencies.answered``."""
        if self._dependencies.answered(dependency, proven=proven):
            self._watch.event("back", dependency=dependency)

    def trouble(self, error: Exception, dependency: Dependency | None = None) -> None:
        """A failure, of a dependency where one is to blame: back off, and say so once."""
        if isinstance(error, Unavailable | Denied):
            dependency = error.dependency
        if dependency is None:
            self._watch.event("trouble", error=error)
        elif self._dependencies.failed(dependency, error):
            self._watch.event("down", dependency=dependency, error=error)
