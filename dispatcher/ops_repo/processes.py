"""Ending git processes with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

KILL_GRACE_S = 2.0


class Conversations:
    """The processes that talk to the remote, which may never answer. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called: a process that ended by a signal says nothing then."""
        return self._stopped

    @contextmanager
    def one(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Within it, ``stop`` ends the process."""
        with self._lock:
            self._open.add(process)
            stopped = self._stopped
        if stopped:
            _signal_group(process, signal.SIGTERM)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(process)

    def stop(self) -> None:
        """End all of them, and each that begins later, for good. Whoever waits for one reads its
        end as before.
        """
        with self._lock:
            self._stopped = True
            processes = list(self._open)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in processes:
                _signal_group(process, number)
            until = time.monotonic() + KILL_GRACE_S
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, until - time.monotonic()))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End git with what it started: asked first, so that it removes its lock files."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILL_GRACE_S)
            break
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with suppress(OSError):
                stream.close()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a process that somebody else waits for, unless it has ended."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
