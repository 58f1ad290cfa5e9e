"""Retries of steps that failed for another reason than an outage: when each is due, and its error."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from dispatcher.errors import describe
from dispatcher.model.backoff import backoff_s

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """One id whose last step failed.

    Attributes:
        tries: failures in a row.
        again_at: monotonic time before which it is not retried.
        error: the last failure.
    """

    tries: int
    again_at: float
    error: Exception


class Retries:
    """Growing pauses by action id, or by another name. Used by the loop's thread only.

    Args:
        longest_s: the longest pause, in seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        longest_s: float = LONGEST_RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._longest_s = longest_s
        self._clock = clock
        self._retries: dict[str, Retry] = {}
        self._errors: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._retries)

    def failed(self, action_id: str, error: Exception) -> int:
        """Note a failure; returns the number of failures in a row."""
        before = self._retries.get(action_id)
        tries = before.tries + 1 if before else 1
        pause_s = backoff_s(FIRST_RETRY_S, self._longest_s, tries)
        self._retries[action_id] = Retry(tries=tries, again_at=self._clock() + pause_s, error=error)
        self.note(action_id, error)
        return tries

    def note(self, action_id: str, error: Exception) -> None:
        """Note the error of a step that waits for a dependency, and so needs no pause of its own."""
        self._errors[action_id] = describe(error)

    def succeeded(self, action_id: str) -> None:
        """Forget the failures of an id."""
        self._retries.pop(action_id, None)
        self._errors.pop(action_id, None)

    def keep(self, open_ids: Collection[str], claimed: Collection[str]) -> None:
        """Forget ids that are no longer open or claimed, because nothing is retried for them."""
        for action_id in [i for i in self._errors if i not in open_ids and i not in claimed]:
            self.succeeded(action_id)

    def paused(self) -> Mapping[str, str]:
        """Ids that pause now, and why."""
        now = self._clock()
        return {i: describe(r.error) for i, r in self._retries.items() if now < r.again_at}

    def errors(self) -> Mapping[str, str]:
        """The error of each id's last step, also while the step is being retried."""
        return dict(self._errors)

    def next_try_in(self) -> float | None:
        """Seconds until the next pause ends; None if there is none."""
        now = self._clock()
        return min(
            (r.again_at - now for r in self._retries.values() if r.again_at > now), default=None
        )

    def hopeless(self, tries: int) -> Exception | None:
        """The error of an id that failed this often in a row; None if there is none."""
        return next((r.error for r in self._retries.values() if r.tries >= tries), None)
