"""Packs the clone from time to time, so that thousands of small objects do not slow it down.

Runs concurrently: git may fetch, commit and read while it repacks. Nothing is ever pruned, because
commits that a rewritten history dropped are still needed to determine what vanished.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dispatcher.errors import DisintoError
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.git import Git

EVERY = 64
"""Changes of the clone between two checks."""

LOOSE_LIMIT = 2_000
PACK_LIMIT = 40

_GENTLY = {"pack.threads": "1"}


class Upkeep:
    """Keeps one clone packed, on a thread of its own when there is something to do."""

    def __init__(self, git: Git, git_dir: Path) -> None:
        self._git = git
        self._git_dir = git_dir
        self._changes = 0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def changed(self) -> None:
        """Count a change; occasionally this starts packing. Never blocks."""
        with self._lock:
            self._changes += 1
            if self._changes < EVERY or (self._thread and self._thread.is_alive()):
                return
            self._changes = 0
            if self.needed():
                self._thread = threading.Thread(target=self.pack, name="git-upkeep", daemon=True)
                self._thread.start()

    def needed(self) -> bool:
        """Whether there are many loose objects (estimated from one of 256 folders) or packs."""
        objects = self._git_dir / "objects"
        loose = sum(1 for _ in (objects / "17").glob("*")) * 256
        packs = sum(1 for _ in (objects / "pack").glob("*.pack"))
        return loose > LOOSE_LIMIT or packs > PACK_LIMIT

    def pack(self) -> bool:
        """Pack now; False if another process is packing, or if git failed.

        A failure is not reported: the next command that needs a broken object reports it.
        """
        with self.exclusive() as fd:
            if fd is None:
                return False
            with suppress(GitFailed, DisintoError):
                for args in (
                    ("repack", "--quiet", "-d", "--geometric=2"),
                    ("commit-graph", "write", "--reachable", "--changed-paths", "--split"),
                ):
                    self._git.run(
                        self._git_dir, *args, config=_GENTLY, keep_fds=(fd,), timeout_s=3600
                    )
                return True
        return False

    def join(self) -> None:
        """Wait for a running packing."""
        thread = self._thread
        if thread is not None:
            thread.join()

    @contextmanager
    def exclusive(self) -> Iterator[int | None]:
        """Lock out other packing of this clone; None if it is already locked."""
        name = self._git_dir.with_name(self._git_dir.name + ".upkeep.lock")
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)
