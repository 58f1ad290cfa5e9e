"""Time as the programs see it: a clock whose pauses end when the run is cancelled, pace, and patience.

All runs share the provider's limit on requests, and none knows of the others. So each slows down by what the
provider answers, and each pause is a little longer or shorter than the one before.
"""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol, TypeVar

from dispatcher.provision.provider import Provider, ProviderBusy, ProviderUnclear

_T = TypeVar("_T")

PAUSE_S = 3.0
"""Seconds between two requests for the same thing."""

LONGEST_PAUSE_S = 60.0
PATIENCE_S = 300.0
"""Seconds for which an unavailable provider is asked again."""

_SPREAD_S, _WIDEST_S = 30.0, 120.0
_SLOWEST = 16.0
_RECOVERY = 0.8
_PLENTY = 0.5  # of the hour's requests: with more of them left, nobody needs to save any


class Cancelled(Exception):
    """The run is to end: what was begun has to be cleaned up."""


class Clock(Protocol):
    """Seconds since the epoch, and pauses."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None:
        """Pause.

        Raises:
            Cancelled: the run is to end; not raised again, so that cleaning up may pause.
        """

    def chance(self) -> float:
        """A random number from 0 up to 1."""


class SystemClock:
    """The machine's clock as it was when the program began, and from there on without jumps: most of what
    it is asked for are durations. SIGTERM and SIGINT cancel: at the next pause, never within a request,
    so that its answer is not lost.
    """

    def __init__(self) -> None:
        self._booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        self._requested = threading.Event()
        self._raised = False
        self._random = random.SystemRandom()

    def listen(self) -> None:
        """Take signals from here on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def now(self) -> float:
        return self._booted_at + time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        if self._raised:
            time.sleep(seconds)
            return
        if self._requested.wait(seconds):
            self._raised = True
            raise Cancelled

    def chance(self) -> float:
        return self._random.random()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requested.set()


class Pace:
    """How long one run pauses between requests to the provider.

    It doubles its pauses while requests fail, up to 16 times, and shortens them again while they are
    answered; it stretches them when less than half of the hour's requests are left.

    Args:
        say: told of the first of several failures.
    """

    def __init__(self, provider: Provider, clock: Clock, say: Callable[[str], object]) -> None:
        self.clock = clock
        self._provider, self._say = provider, say
        self._fails = False
        self._slowness = 1.0
        self._wanted_s = 0.0

    @property
    def held_up(self) -> bool:
        """Whether the provider wants no request for a while."""
        return bool(self._wanted_s)

    def answered(self) -> None:
        self._slowness = max(1.0, self._slowness * _RECOVERY)
        self._wanted_s, self._fails = 0.0, False

    def failed(self, error: ProviderBusy | ProviderUnclear) -> None:
        if not self._fails:
            self._say(f"{error.what}; waiting")
        self._fails = True
        self._slowness = min(_SLOWEST, 2 * self._slowness)
        self._wanted_s = (error.retry_after_s or 0.0) if isinstance(error, ProviderBusy) else 0.0

    def pause_s(self, usual_s: float, *, longest_s: float = math.inf) -> float:
        """Seconds until the next request, where ``usual_s`` would do for a single run.

        What the provider wants us to wait is a minimum; all who were refused with us wait for the same
        moment, so most of them have to come later.

        Args:
            longest_s: for which the provider's wish is respected.
        """
        if self._wanted_s:
            spread_s = min(_SPREAD_S * self._slowness, _WIDEST_S)
            return min(self._wanted_s, longest_s) + spread_s * self.clock.chance()
        usual_s = min(usual_s * self._slowness * self._scarcity(), LONGEST_PAUSE_S)
        return usual_s * (0.75 + 0.5 * self.clock.chance())

    def pause(self, usual_s: float) -> None:
        """Pause so long. Raises ``Cancelled``."""
        self.clock.sleep(self.pause_s(usual_s))

    def _scarcity(self) -> float:
        left = self._provider.requests_left
        if left is None or left >= _PLENTY:
            return 1.0
        return min(_SLOWEST, _PLENTY / max(left, 0.01))


def patiently(call: Callable[[], _T], pace: Pace, *, patience_s: float = PATIENCE_S) -> _T:
    """Repeat a call that may safely be repeated, until the provider answers it.

    Args:
        patience_s: seconds, without those for which the provider wants no request.

    Raises:
        ProviderBusy, ProviderUnclear: the last one, after ``patience_s`` seconds.
        ProviderRefused: at once.
    """
    clock = pace.clock
    until = clock.now() + patience_s
    while True:
        try:
            answer = call()
        except (ProviderBusy, ProviderUnclear) as error:
            pace.failed(error)
            pause_s = pace.pause_s(PAUSE_S)
            until += pause_s if pace.held_up else 0.0
            if clock.now() + pause_s > until:
                raise
            clock.sleep(pause_s)
        else:
            pace.answered()
            return answer
