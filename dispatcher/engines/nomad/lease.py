"""Leadership by a Nomad variable lock, timed by our own clock.

Nomad frees a lock that was not renewed for its TTL (2.0.5 takes about twice that). We count from
the moment *before* the last renewal that succeeded was sent, on a clock that keeps running while
the process is stopped or the machine sleeps, and give up a fifth of the TTL early. So ``held()``
becomes False before another process can lead, without a call. A lost lease stays lost.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable

from dispatcher.engines.nomad.api import Lock, NomadApi
from dispatcher.errors import Conflict, DisintoError, TemporaryError

LEADER_POLL_S = 2.0
"""Mean pause between two attempts to become leader."""

LOCK_DELAY_S = 1
"""Seconds for which nobody can acquire an expired lock."""


def boot_clock() -> float:
    """Seconds that pass also while the machine is suspended; the monotonic clock if there is none."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class NomadLease:
    """A held lock and the thread that renews it.

    Args:
        began: reading of ``clock`` before the lock was requested.
        clock: seconds; replaced in tests.
    """

    def __init__(
        self,
        api: NomadApi,
        lock: Lock,
        *,
        ttl_s: float,
        began: float,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._api = api
        self._lock = lock
        self._ttl_s = ttl_s
        self._clock = clock
        self._good_for_s = ttl_s * 0.8
        self._until = began + self._good_for_s
        self._lost = False
        self._state = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_on, name="lease", daemon=True)

    @classmethod
    def take(cls, api: NomadApi, path: str, *, name: str, ttl_s: int) -> NomadLease | None:
        """The lease, or None while another process holds it. Raises what ``NomadApi`` raises."""
        began = boot_clock()
        lock = api.acquire_lock(path, {"holder": name}, ttl_s=ttl_s, delay_s=LOCK_DELAY_S)
        if lock is None:
            return None
        lease = cls(api, lock, ttl_s=ttl_s, began=began)
        lease.keep()
        return lease

    def keep(self) -> None:
        """Start renewing."""
        self._thread.start()

    def held(self) -> bool:
        """False, permanently, from the moment at which another process could have become leader."""
        with self._state:
            if self._clock() >= self._until:
                self._lost = True
            return not self._lost

    def renew(self) -> None:
        """Renew once; whether that succeeded shows in ``held``.

        Raises:
            TemporaryError: Nomad could not be reached; a retry can help.
        """
        began = self._clock()
        try:
            self._api.renew_lock(self._lock, timeout_s=self._ttl_s / 3)
        except TemporaryError:
            raise
        except (Conflict, DisintoError):
            self._lose()  # another process holds it, or permission was withdrawn
            return
        with self._state:
            if self._clock() >= self._until:
                # ``held`` may already have returned False.
                self._lost = True
            if not self._lost:
                self._until = began + self._good_for_s

    def give_up(self) -> None:
        """Stop renewing and release the lock if Nomad can be reached; otherwise it expires."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._lose()
        with contextlib.suppress(DisintoError):
            self._api.release_lock(self._lock)

    def _renew_on(self) -> None:
        pause = self._ttl_s / 3
        while not self._stop.wait(pause):
            if not self.held():
                return
            try:
                self.renew()
                pause = self._ttl_s / 3
            except TemporaryError:
                pause = random.uniform(0.25, 0.75)  # noqa: S311 - jitter

    def _lose(self) -> None:
        with self._state:
            self._lost = True
