"""Polls of progress for unit tests, which ask at once and by a clock of the test."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, cast

from dispatcher.loop.progress_poll import ProgressPoll
from dispatcher.model.progress import Progress
from dispatcher.model.run import Claim, RunKey, RunState


class _Inline:
    """Runs what is to be asked at once."""

    def free(self, _dependency: object, _name: str = "") -> bool:
        return True

    def run(self, _dependency: object, ask: Any, learn: Any, **_: object) -> None:
        learn(ask())


def progress_poll(
    progress: Callable[[Collection[Claim]], dict[RunKey, Progress]],
    claims: Sequence[Claim],
    clock: list[float],
) -> ProgressPoll:
    """A poll of these runs, all of which execute.

    Args:
        progress: the engine's method.
        claims: may be changed later.
        clock: monotonic seconds, its only item.
    """
    running = cast(Any, SimpleNamespace(state=RunState.RUNNING))
    return ProgressPoll(
        cast(Any, SimpleNamespace(progress=progress)),
        cast(Any, SimpleNamespace(in_flight=lambda: claims)),
        cast(Any, _Inline()),
        observations=lambda: {claim.key: running for claim in claims},
        clock=lambda: clock[0],
    )
