"""The bare clone on disk: created, and rebuilt when it is damaged.

The clone is a cache of the remote. Whatever the damage, a new clone is created beside the old one
and replaces it by a rename; see ``refs`` for what is carried over.

Beside the clone are: ``<name>.lock``, see ``clone_lock``; ``<name>.upkeep.lock``, see ``upkeep``;
``<name>.new-*`` and ``<name>.old-*``, left by a crash, which are removed; and
``withdrawn-approvals/``, see ``rewrites`` and ``viewed``.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from dispatcher.errors import Dependency, DisintoError, Misconfigured, Unavailable
from dispatcher.ops_repo.clone_lock import CloneLock
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.fetching import Fetcher
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.objects import Objects
from dispatcher.ops_repo.recent_trees import RecentTrees
from dispatcher.ops_repo.refs import HEAD, PUSH, SEEN, SEEN_LOST, Refs
from dispatcher.ops_repo.upkeep import Upkeep

MEND_PAUSE_S = 60.0
"""Seconds in which the same failure does not rebuild the clone twice."""

PUSH_LEFTOVER_S = 86_400.0
"""Age in seconds at which refs of a push count as left by a killed process: one that lost objects by a
power cut would keep the clone from being packed well.
"""


class Clone:
    """One bare clone. Thread-safe; several processes may use one directory.

    Attributes:
        path: of the clone.
        git: runs git for it and its remote.
        lock: held while it is changed.
        objects, refs, upkeep: read its objects, keep its refs, pack it.
        trees: directories that were read or written last.
        fetcher: fetches from the remote.
    """

    def __init__(self, path: Path, git: Git) -> None:
        self.path = path.expanduser().absolute()
        self.git = git
        self.lock = CloneLock(self.path, git)
        self.objects = Objects(git, self.path)
        self.trees = RecentTrees()
        self.upkeep = Upkeep(git, self.path)
        self.refs = Refs(self.path, git, lock=self.lock, objects=self.objects)
        self.fetcher = Fetcher(
            self.path,
            git,
            lock=self.lock,
            refs=self.refs,
            upkeep=self.upkeep,
            objects=self.objects,
        )
        self._ready = False
        self._mended_for = ("", 0.0)

    def ensure(self) -> bool:
        """Make the clone usable; True if it had to be created. Costs nothing once it is open."""
        if self._ready and (self.path / "HEAD").exists():
            return False
        with self.lock.held():
            self._tidy()
            missing = not self.sound()
            if missing:
                self._make()
            self._ready = True
            return missing

    @property
    def generation(self) -> int:
        """Changes when any process rebuilds the clone; 0 if there is none."""
        try:
            return self.path.stat().st_ino
        except OSError:
            return 0

    def repair(self, failed: GitFailed, generation: int) -> bool:
        """Rebuild the clone after a failure in the given generation of it.

        The old clone stays if the remote cannot be reached. False if the clone was rebuilt for the
        same failure recently: then the clone is not the cause.
        """
        with self.lock.held():
            if self.generation not in (0, generation):
                return True  # another thread or process has done it
            now = time.monotonic()
            if failed.text == self._mended_for[0] and now - self._mended_for[1] < MEND_PAUSE_S:
                return False
            self._tidy()
            self._make()
            self._mended_for = (failed.text, now)
            self._ready = True
            return True

    def remove_stale_locks(self) -> None:
        """Remove git's lock files: while the clone's lock is held, they are stale."""
        with self.lock.held():
            self._tidy()

    def close(self) -> None:
        """End the processes kept for reading and fetching, and close the lock file."""
        self.objects.close()
        self.fetcher.close()
        self._ready = False
        self.lock.close()

    def sound(self) -> bool:
        """Whether the head of an existing clone, and the tree it names, can be read."""
        if not (self.path / "HEAD").exists():
            return False
        try:
            self.git.run(self.path, "rev-parse", "--verify", "--quiet", f"{HEAD}^{{tree}}")
            self.git.run(self.path, "cat-file", "-e", f"{HEAD}^{{tree}}")
        except GitFailed:
            return False
        return True

    def unusable(self, failed: GitFailed) -> DisintoError:
        """The error for a clone that could not be repaired."""
        return Unavailable(
            Dependency.REMOTE,
            f"the clone {self.path} is damaged and could not be rebuilt: {failed.reason}",
            remedy="Check the remote with `git fsck`, and the disk.",
        )

    def full(self, failed: GitFailed) -> DisintoError:
        """The error for a clone that cannot be written."""
        return Unavailable(
            Dependency.REMOTE,
            f"the clone {self.path} cannot be written: {failed.reason}",
            remedy="Free space there, or make it writable again; it is retried.",
        )

    def _tidy(self) -> None:
        for left in self.path.parent.glob(self.path.name + ".new-*"):
            shutil.rmtree(left, ignore_errors=True)
        if not self.path.is_dir():
            return
        self._remove("*.lock", "refs/**/*.lock", "fast_import_crash_*", "gc.pid")
        for push in self.path.glob(f"{PUSH}*"):
            with suppress(OSError):
                if time.time() - push.lstat().st_mtime > PUSH_LEFTOVER_S:
                    shutil.rmtree(push)
        with self.upkeep.exclusive() as nobody_packs:
            if nobody_packs is not None:
                self._remove("objects/info/**/*.lock", "objects/pack/*.lock", "objects/**/tmp_*")

    def _remove(self, *patterns: str) -> None:
        for pattern in patterns:
            for stale in self.path.glob(pattern):
                with suppress(OSError):
                    stale.unlink()

    def _make(self) -> None:
        seen = self._saved_seen()
        new = self.path.with_name(f"{self.path.name}.new-{os.getpid()}-{time.monotonic_ns()}")
        try:
            self._fill(new, seen)
            self.objects.close()
            old = self.path.with_name(f"{self.path.name}.old-{os.getpid()}-{time.monotonic_ns()}")
            if self.path.exists():
                self.path.rename(old)
            new.chmod(0o700)
            new.rename(self.path)
        except OSError as failed:
            raise Misconfigured(
                f"the clone {self.path} cannot be made: {failed.strerror or failed}",
                remedy="Check `state_dir`, its owner and the space left.",
            ) from failed
        finally:
            shutil.rmtree(new, ignore_errors=True)
        for left in self.path.parent.glob(self.path.name + ".old-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _fill(self, new: Path, seen: str | None) -> None:
        branch = self.git.settings.branch
        try:
            self.git.run(
                new, "init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}"
            )
            with self.lock.held() as fds:
                self.git.ask(
                    new,
                    "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
                    *self.git.path_options("fetch"),
                    "--", self.git.remote,
                    f"+refs/heads/{branch}:{HEAD}",
                    keep_fds=fds,
                    timeout_s=max(600.0, self.git.settings.timeout_s),
                )  # fmt: skip
            self.git.run(new, "commit-graph", "write", "--reachable", "--changed-paths")
            if seen is None:
                return
            if self.git.run(new, "cat-file", "-t", seen, ok=(0, 1, 128)).line == "commit":
                self.git.run(new, "update-ref", SEEN, seen)
            else:
                (new / SEEN_LOST).write_text(seen)
        except GitFailed as failed:
            raise self.unusable(failed) from None

    def _saved_seen(self) -> str | None:
        paths = [self.path, *self.path.parent.glob(self.path.name + ".old-*")]
        return next(filter(None, map(self.refs.carried_over, paths)), None)
