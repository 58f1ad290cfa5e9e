"""How often somebody may ask: token buckets, bounded in number."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST = 10_000
"""People that are remembered; whoever is forgotten begins with a full bucket."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So many requests a second on average, and so many at once."""

    per_s: float
    burst: int


READING = Rate(per_s=20, burst=200)
WRITING = Rate(per_s=1, burst=30)
"""What one person may do: look at pages, and send something."""

UNPROVEN = Rate(per_s=10, burst=100)
"""Tokens that are not known yet, and logins: each is asked about at the forge."""


class Buckets:
    """One bucket for each key. Thread-safe.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, rate: Rate, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str = "") -> int:
        """Take one out. 0 if there was one; else the whole seconds until there is, at least 1."""
        rate, now = self._rate, self._clock()
        with self._lock:
            level, since = self._buckets.pop(key, (float(rate.burst), now))
            level = min(float(rate.burst), level + (now - since) * rate.per_s)
            enough = level >= 1
            self._buckets[key] = (level - 1 if enough else level, now)
            while len(self._buckets) > MOST:
                self._buckets.popitem(last=False)
        return 0 if enough else math.ceil((1 - level) / rate.per_s)
