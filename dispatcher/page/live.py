"""What changes while the page is open: the index follows git, and the status file follows ``serve``.

One thread looks at the status file, which costs a ``stat``; another fetches into the page's own clone
and brings the index up to date. When something changed, the version changes, and whoever waits for it
is told. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dispatcher.errors import DisintoError, reason_of
from dispatcher.model.result import RESULT_LIMIT
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.page.index import Index
from dispatcher.status import status_file
from dispatcher.status.status_file import Seen

LOOK_S = 0.25
"""Seconds between two looks at the status file."""

ALIVE_S = 2.0
"""Seconds after which it is checked again whether the writer of the status file lives."""

AUTHORS_AT_A_TIME = 1_000
"""Commits that are searched for authors at a time."""

PAUSE_S = 0.02
"""Pause after each piece of a large piece of work, so that requests are answered meanwhile."""


class Live:
    """Follows one state directory. Use as a context manager.

    Args:
        state_dir: of ``serve``, if one runs here.
        repo: the page's own clone.
        index: what is brought up to date.
        poll_s: seconds between two fetches when no ``serve`` here says that there is something new.
        event: logs an event.

    Attributes:
        trouble: why the index does not follow, in words; "" if it does.
    """

    def __init__(
        self,
        state_dir: Path,
        repo: OpsRepo,
        index: Index,
        *,
        poll_s: float,
        event: Callable[..., None] = lambda _name, /, **_facts: None,
    ) -> None:
        self._state_dir, self.repo, self.index = state_dir, repo, index
        self._poll_s, self._event = poll_s, event
        self._closing = threading.Event()
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._seen: Seen | None = None
        self._stamp: tuple[int, int] = (0, 0)
        self._digest = ""
        self._looked = 0.0
        self.trouble = ""
        self._threads = [
            threading.Thread(target=self._watch, name="page-status", daemon=True),
            threading.Thread(target=self._follow, name="page-index", daemon=True),
        ]

    def __enter__(self) -> Live:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._wanted.set()
        for thread in self._threads:
            thread.join(timeout=5)

    @property
    def status(self) -> Seen | None:
        """The status file as last read; None if there is none."""
        with self._lock:
            return self._seen

    @property
    def version(self) -> str:
        """Changes when something that the page shows has changed."""
        with self._lock:
            return self._digest

    def refresh(self) -> None:
        """Have git looked at now."""
        self._wanted.set()

    async def changed(self, version: str, *, within_s: float) -> bool:
        """Wait until the version is another one; False if it stays the same that long."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(entry)
        try:
            if self.version != version:
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(entry[1].wait(), within_s)
            return self.version != version
        finally:
            with self._lock:
                self._waiting.discard(entry)

    def look(self) -> None:
        """Read the status file, if it is another one than before."""
        try:
            found = (self._state_dir / status_file.NAME).stat()
            stamp = (found.st_ino, found.st_mtime_ns)
        except OSError:
            stamp = (0, 0)
        due = time.monotonic() - self._looked > ALIVE_S  # whether its writer lives changes no file
        if stamp == self._stamp and not (due and self._seen is not None and self._seen.fresh):
            return
        self._looked = time.monotonic()
        seen = status_file.read(self._state_dir) if stamp != (0, 0) else None
        with self._lock:
            before, self._seen, self._stamp = self._seen, seen, stamp
        if _head(seen) not in ("", _head(before), self.index.commit):
            self.refresh()
        self._published()

    def follow(self) -> bool:
        """Bring the index closer to the remote's head; whether there is more to do.

        Raises:
            DisintoError: git or the remote cannot be used.
        """
        head = self.repo.fetch().commit
        base = self.index.commit
        if base != head:
            delta = self.repo.difference(Tree(commit=base), head)
            authors = {} if delta.complete else self._authors(head, since=base)
            self.index.enter(delta, base=base, authors=authors)
            self._published()
        if self._read() or not self._search():
            return True
        return self.index.search is not None

    def _read(self) -> int:
        """Read results until none is left, or something new may be there; how many are left."""
        left = self.index.unread
        while left and not self._interrupted():
            left = self.index.read_some(lambda blobs: self.repo.read(blobs, limit=RESULT_LIMIT))
            self._published()
            self._closing.wait(PAUSE_S)
        return left

    def _authors(self, head: str, *, since: str) -> dict[str, str]:
        found = self.repo.additions(head, since=since, count=AUTHORS_AT_A_TIME)
        return {action_id: info.author_name for action_id, info in found.items()}

    def _search(self) -> bool:
        """Search the history for authors, the newest commits first; False if it was interrupted."""
        while (search := self.index.search) is not None and not self._interrupted():
            head, skip = search
            if not self.repo.has_commit(head):
                self.index.searched({}, None)
                continue
            found = self.repo.additions(head, skip=skip, count=AUTHORS_AT_A_TIME)
            reached = skip + AUTHORS_AT_A_TIME
            last = reached >= self.repo.commit_count(head)
            names = {i: info.author_name for i, info in found.items()}
            self.index.searched(names, None if last else (head, reached))
            self._closing.wait(PAUSE_S)
        return self.index.search is None

    def _interrupted(self) -> bool:
        return self._closing.is_set() or self._wanted.is_set()

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the thread must live
                self._event("defect", where="status of the page", error=error)
            self._closing.wait(LOOK_S)

    def _follow(self) -> None:
        while not self._closing.is_set():
            self._wanted.clear()
            trouble, more = "", False
            try:
                more = self.follow()
            except DisintoError as error:
                trouble = error.what
            except (sqlite3.Error, OSError) as error:
                trouble = reason_of(error)
            except Exception as error:  # noqa: BLE001 - the thread must live
                self._event("defect", where="index of the page", error=error)
                trouble = "an unexpected error occurred; it is in the log of the page"
            if trouble != self.trouble:
                self.trouble = trouble
                self._published()
            self._wanted.wait(0 if more else self._poll_s)
            self._closing.wait(PAUSE_S)

    def _published(self) -> None:
        """Work out the version, and tell who waits if it is new."""
        with self._lock:
            seen = self._seen
        shown = seen.overview.to_json() if seen else {}
        shown.pop("at", None)
        facts = [
            shown,
            seen.fresh if seen else None,
            self.index.commit,
            self.index.unread,
            self.trouble,
        ]
        text = json.dumps(facts, default=str, sort_keys=True)
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
        with self._lock:
            if digest == self._digest:
                return
            self._digest = digest
            waiting = tuple(self._waiting)
        for loop, changed in waiting:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(changed.set)


def _head(seen: Seen | None) -> str:
    return seen.overview.head if seen is not None else ""
