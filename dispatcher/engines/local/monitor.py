"""Process monitor: one thread notices when runners end, and kills those that hang."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from dispatcher.engines.local.leftovers import kill_tree
from dispatcher.engines.log import LazyLogger

_LOOK_S = 5.0
_log = LazyLogger("disinto.local")


@dataclass(kw_only=True, slots=True)
class Watched:
    """One runner.

    Attributes:
        pid: of the runner.
        deadline: monotonic time after which it counts as hanging and is killed.
        ended: called once in the monitoring thread; True if it had to be killed.
        overdue: True once it was killed.
    """

    pid: int
    deadline: float
    ended: Callable[[bool], None]
    overdue: bool = False


class ProcessMonitor:
    """Monitors process descriptors with one epoll."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, pidfd: int, watched: Watched) -> None:
        """Watch a process; the descriptor is closed when it has ended."""
        with self._lock:
            self._watched[pidfd] = watched
            self._epoll.register(pidfd, select.EPOLLIN)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="disinto-local-watch", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            for pidfd, _event in self._epoll.poll(_LOOK_S):
                self._end(pidfd)
            self._kill_the_hanging()

    def _end(self, pidfd: int) -> None:
        with self._lock:
            watched = self._watched.pop(pidfd)
            self._epoll.unregister(pidfd)
            os.close(pidfd)
        try:
            watched.ended(watched.overdue)
        except Exception:  # noqa: BLE001
            # The loop's next observation reports the error; other runs stay monitored.
            _log.exception("the end of a runner could not be recorded", pid=watched.pid)

    def _kill_the_hanging(self) -> None:
        now = time.monotonic()
        with self._lock:
            hanging = [(fd, w) for fd, w in self._watched.items() if w.deadline <= now]
        for pidfd, watched in hanging:
            watched.overdue = True
            watched.deadline = now + _LOOK_S
            with suppress(OSError):
                signal.pidfd_send_signal(pidfd, 0)  # it has not ended: the pid is still its own
                kill_tree(watched.pid)
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
