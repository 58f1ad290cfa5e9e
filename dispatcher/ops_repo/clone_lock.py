"""The lock that serializes changes of a clone between threads and processes.

It is the file ``<name>.lock`` beside the clone, held (flock) by the process that changes the
clone, and by the git processes of a dispatcher that was killed.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dispatcher.errors import Dependency, Unavailable
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.holders import Holder, holder_of
from dispatcher.ops_repo.records import escaped

LOOK_FOR_HOLDER_S = 2.0
"""Seconds of waiting for the lock after which its holder is inspected: one that is stopped by a
signal never releases it."""


class CloneLock:
    """Lets one thread of one process at a time change a clone. Reentrant."""

    def __init__(self, path: Path, git: Git) -> None:
        self._path = path
        self._git = git
        self._thread_lock = threading.RLock()
        self._depth = 0
        self._file: int | None = None

    @contextmanager
    def held(self) -> Iterator[tuple[int, ...]]:
        """Hold it; yields the file descriptors that git must keep open.

        Raises:
            Unavailable: another process held it for longer than a fetch may take.
        """
        with self._thread_lock:
            if self._depth == 0:
                self._flock()
            self._depth += 1
            try:
                assert self._file is not None  # noqa: S101 - for the type checker
                yield (self._file,)
            finally:
                self._depth -= 1
                if self._depth == 0 and self._file is not None:
                    fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, unless it is held."""
        with self._thread_lock:
            if self._file is not None and self._depth == 0:
                os.close(self._file)
                self._file = None

    def _flock(self) -> None:
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = self._path.with_name(self._path.name + ".lock")
            self._file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + self._git.settings.timeout_s + 5
        look_at = time.monotonic() + LOOK_FOR_HOLDER_S
        pause = 0.005
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._git.conversations.stopped:
                    raise self._git.given_up() from None
                now = time.monotonic()
                if now > min(look_at, deadline):
                    look_at = now + LOOK_FOR_HOLDER_S
                    self._give_up_on(holder_of(self._file), patient=now <= deadline)
                time.sleep(pause)
                pause = min(pause * 1.5, 0.1)
            else:
                return

    def _give_up_on(self, holder: Holder | None, *, patient: bool) -> None:
        """Raise if waiting for the lock is pointless, or, unless ``patient``, has timed out."""
        if patient and not (holder and holder.stopped):
            return
        if holder is None:
            what = f"another process keeps the clone {self._path} locked"
            remedy = "Look for a hung git process."
        else:
            named = f"process {holder.pid} ({escaped(self._git.redacted(holder.command))})"
            stopped = " and is stopped" if holder.stopped else ""
            what = f"{named} keeps the clone {self._path} locked{stopped}"
            go_on = f"Let it go on (kill -CONT {holder.pid}), or end" if stopped else "End"
            remedy = f"{go_on} it if it hangs."
        raise Unavailable(Dependency.REMOTE, what, remedy=remedy)
