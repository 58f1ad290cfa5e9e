"""Supervises the formula until it, and everything it started, has ended.

One thread, one poll: the two streams, the destinations that fill up, the signals, the clock.
"""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from dispatcher.runner.process import reap, signal_descendants
from dispatcher.runner.streams import Stream

_SANDBOX_S = 0.05
_DRAIN_S = 1.0  # a pipe that stays open though nobody of ours lives: handed to a stranger
_FLUSH_S = 10.0  # for a destination that has stopped accepting data
_KILL_AGAIN_S = 0.05
_KILL_S = 15.0  # a process in uninterruptible sleep outlives KILL


@dataclass(kw_only=True, slots=True)
class End:
    """How the formula ended.

    Attributes:
        status: wait status of its first process, or None if it could not be waited for.
        timed_out, cancelled: why it was ended; at most one is set, and neither if it ended by
            itself.
        finished_at: seconds since the epoch.
        survivors: True if processes outlived even KILL.
    """

    status: int | None = None
    timed_out: bool = False
    cancelled: bool = False
    finished_at: float = 0.0
    survivors: bool = False


class Stopped(BaseException):
    """TERM arrived before the formula was started; not an error, so nothing may catch it."""


class Signals:
    """TERM and INT as a request to stop, CHLD as a wake-up.

    Until ``quiet`` is called a request raises ``Stopped`` wherever the runner is.
    """

    def __init__(self) -> None:
        self.requested = False
        self._raising = True
        self.wake, self._tell = os.pipe()
        for fd in (self.wake, self._tell):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_request)

    def quiet(self) -> None:
        """From here on a request only sets ``requested``."""
        self._raising = False
        if self.requested:
            raise Stopped

    def mute(self) -> None:
        """The same, for a runner that is exiting."""
        self._raising = False

    def _on_request(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._raising:
            self._raising = False
            raise Stopped

    def clear(self) -> None:
        """Empty the wake-up pipe."""
        with suppress(BlockingIOError):
            while os.read(self.wake, 512):
                pass


class Supervision:
    """From the start of the first process to the end of the last.

    Args:
        pid: the first process.
        streams: its output.
        timeout_s: seconds it may run.
        grace_s: seconds between TERM and KILL.
        spare: name of the sandbox's program, see ``signal_descendants``.
        tick: called about once per ``tick_s`` seconds while the first process runs; never blocks.
    """

    def __init__(
        self,
        pid: int,
        streams: Sequence[Stream],
        signals: Signals,
        *,
        timeout_s: float,
        grace_s: float,
        spare: str = "",
        tick: Callable[[], None] = lambda: None,
        tick_s: float = math.inf,
    ) -> None:
        self._pid = pid
        self._streams = streams
        self._signals = signals
        self._grace_s = grace_s
        self._spare = spare
        self._poll = select.poll()
        self._poll.register(signals.wake, select.POLLIN)
        self._watched: dict[int, int] = {}
        self._timeout_at = time.monotonic() + timeout_s
        self._tick, self._tick_s = tick, tick_s
        self._tick_at = time.monotonic() + tick_s
        self.end = End()

    def run(self) -> End:
        """Returns once no process is left, or none of the rest can be killed."""
        left = self._until_ended()
        if left and self._spare and self.end.status is not None:
            left = self._until_sandbox_ended()
        if left:
            left = self._until_gone()
        self.end.survivors = left
        self.end.finished_at = self.end.finished_at or time.time()
        self._drain()
        return self.end

    def _until_ended(self) -> bool:
        """Wait for the first process, the timeout or a request. True if processes are left."""
        while True:
            left = self._reap()
            if self.end.status is not None or not left:
                return left
            if self._signals.requested:
                self.end.cancelled = True
                return True
            if time.monotonic() >= self._timeout_at:
                self.end.timed_out = True
                return True
            self._poll_once(min(self._timeout_at, self._tick_at))
            if time.monotonic() >= self._tick_at:
                self._tick()
                self._tick_at = time.monotonic() + self._tick_s

    def _until_sandbox_ended(self) -> bool:
        """Wait for what a sandbox takes with it when its program has ended: to find processes takes longer, all
        of the machine's are looked through. True if some are left.
        """
        deadline = time.monotonic() + _SANDBOX_S
        while left := self._reap():
            if time.monotonic() >= deadline:
                break
            self._poll_once(deadline)
        return left

    def _until_gone(self) -> bool:
        """TERM, then KILL, until no process is left. True if some cannot be ended."""
        signal_descendants(signal.SIGTERM, spare=self._spare)
        deadline = time.monotonic() + self._grace_s
        while time.monotonic() < deadline:
            if not self._reap():
                return False
            self._poll_once(deadline)
        deadline = time.monotonic() + _KILL_S
        while time.monotonic() < deadline:
            signal_descendants(signal.SIGKILL)
            if not self._reap():
                return False
            self._poll_once(min(deadline, time.monotonic() + _KILL_AGAIN_S))
        return True

    def _drain(self) -> None:
        """Read the rest of the pipes, and flush it to the destinations."""
        deadline = time.monotonic() + _FLUSH_S
        quiet_at = time.monotonic() + _DRAIN_S
        while any(s.source >= 0 for s in self._streams) and time.monotonic() < deadline:
            blocked = any(s.sink.pending for s in self._streams)
            if self._poll_once(deadline if blocked else quiet_at):
                quiet_at = time.monotonic() + _DRAIN_S
            elif not blocked and time.monotonic() >= quiet_at:
                break
        for stream in self._streams:
            stream.give_up()
        while any(s.sink.pending for s in self._streams) and time.monotonic() < deadline:
            self._poll_once(deadline)

    def _reap(self) -> bool:
        ended, left = reap()
        if self._pid in ended:
            self.end.status = ended[self._pid]
            self.end.finished_at = time.time()
        return left

    def _poll_once(self, until: float) -> bool:
        """Wait for an event and handle it. True if bytes moved."""
        self._register()
        ready = self._poll.poll(max(0.0, until - time.monotonic()) * 1000)
        moved = False
        for fd, _events in ready:
            if fd == self._signals.wake:
                self._signals.clear()
            for stream in self._streams:
                if fd == stream.source:
                    stream.read()
                    moved = True
                if fd == stream.sink.fd and stream.sink.pending:
                    stream.sink.flush()
                    moved = True
        return moved

    def _register(self) -> None:
        """Register exactly the relevant events with the poll."""
        events: dict[int, int] = {}
        for stream in self._streams:
            if stream.reading:
                events[stream.source] = select.POLLIN
            if stream.sink.pending:
                events[stream.sink.fd] = select.POLLOUT
        if events == self._watched:
            return
        for fd in self._watched.keys() - events.keys():
            self._poll.unregister(fd)
        for fd in events.keys() - self._watched.keys():
            self._poll.register(fd, events[fd])
        self._watched = events
