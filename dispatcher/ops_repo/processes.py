"""Ends git processes with everything they started."""

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
    """The processes that communicate with the remote, which may never answer. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called: a process killed by a signal is then no failure."""
        return self._stopped

    @contextmanager
    def one(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Register a process for the block, so that ``stop`` ends it."""
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
        """End all of them, and each that starts later, permanently. Their waiters see the end as
        usual.
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
    """End git with everything it started: TERM first, so that it removes its lock files."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILL_GRACE_S)
            break
    close_pipes(process)


def close_pipes(process: subprocess.Popen[bytes]) -> None:
    """Close our ends of a process's pipes."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with suppress(OSError):
                stream.close()


@contextmanager
def ended_after(process: subprocess.Popen[bytes], limit_s: float) -> Iterator[threading.Event]:
    """Within it, a process and all that it started are ended when the time is over, and the event is set."""
    late = threading.Event()

    def end() -> None:
        late.set()
        end_group(process)

    watch = threading.Timer(limit_s, end)
    watch.daemon = True
    watch.start()
    try:
        yield late
    finally:
        watch.cancel()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a process that another thread waits for, unless it has ended."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
