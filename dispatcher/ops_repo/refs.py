"""The refs of the clone.

    refs/disinto/head      the branch, as last fetched or pushed
    refs/disinto/seen      last head whose consequences are recorded
    refs/disinto/remote/seen  the remote's refs/disinto/seen, as found when it was last asked for
    refs/disinto/outgoing  the commit that is being published
    refs/disinto/asked     what ``OpsRepo.fetch_ref`` brought last
    refs/disinto/push/*    what is being pushed, each as it is to be called below refs/ there
    refs/disinto/lead-*    our record of who leads, and what the remote's ref held; see ``lead``

Only ``refs/disinto/seen`` is our own: it is carried over when the clone is rebuilt. The remote's
ref of that name can be written by anybody, and never becomes ours.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dispatcher.ops_repo import ref_files
from dispatcher.ops_repo.clone_lock import CloneLock
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.objects import Objects
from dispatcher.ops_repo.records import Seen, is_oid

HEAD = "refs/disinto/head"
SEEN = "refs/disinto/seen"
REMOTE_SEEN = "refs/disinto/remote/seen"
OUTGOING = "refs/disinto/outgoing"
ASKED = "refs/disinto/asked"
PUSH = "refs/disinto/push/"
LEAD = "refs/disinto/lead"
LEAD_OURS = "refs/disinto/lead-ours"
LEAD_FOUND = "refs/disinto/lead-found"
SEEN_LOST = "disinto-seen-lost"
"""File in the clone: the hash of a seen commit that could not be carried over."""

UNSYNCED = {"core.fsync": "none"}
"""git's configuration for refs that are of use to one command only."""


class Refs:
    """Reads and sets the refs of one clone. Thread-safe."""

    def __init__(self, path: Path, git: Git, *, lock: CloneLock, objects: Objects) -> None:
        self._path, self._git = path, git
        self._lock, self._objects = lock, objects

    def value(self, name: str, *, git_dir: Path | None = None) -> str | None:
        """The hash that a ref holds, read from its file: it works in a damaged clone, too."""
        return _value_in(git_dir or self._path, name)

    def set(self, name: str, new: str, *, old: str | None = None) -> bool:
        """Point a ref at a commit; with ``old`` only if it still points to that. True on success."""
        with self._lock.held() as fds:
            expected = () if old is None else (old,)
            ok = (0,) if old is None else (0, 1, 128)
            done = self._git.run(
                self._path, "update-ref", "--no-deref", name, new, *expected, ok=ok, keep_fds=fds
            )
            return done.code == 0

    def move(self, name: str, new: str, *, old: str | None) -> bool:
        """Point a ref at a commit if it still points to ``old``, without a process of git's; True on
        success.
        """
        with self._lock.held():
            if self.value(name) != old:
                return False
            if not self._objects.has_commit(new):
                raise GitFailed("update-ref", 0, f"bad object {new}")
            ref_files.put(self._path, name, new, sync=True)
            return True

    def set_all(self, refs: Mapping[str, str]) -> None:
        """Set these refs of ``PUSH`` unconditionally, without syncing them to the disk; those with "" are
        removed. Starts no process, unless they were packed meanwhile (``git gc``).

        A clone that has a broken ref after a power cut is rebuilt.
        """
        with self._lock.held():
            for name, value in refs.items():
                if value:
                    ref_files.put(self._path, name, value)
                else:
                    ref_files.remove(self._path, name, below=PUSH)
                    if self.value(name):
                        self._git.run(self._path, "update-ref", "--no-deref", "-d", name)

    def set_only(self, refs: Mapping[str, str]) -> None:
        """Give a clone that only we know these refs and no others, in one file, unsynced.

        Raises:
            GitFailed: it cannot be written.
        """
        ref_files.pack(self._path, refs)

    def commit(self, name: str) -> str:
        """The commit that a ref names; "" if it names none, or one that the clone lacks."""
        return self._commit_or_empty(self.value(name))

    def carried_over(self, git_dir: Path) -> str | None:
        """The hash in ``refs/disinto/seen`` of another clone, damaged or not."""
        return self.value(SEEN, git_dir=git_dir) or _lost(git_dir)

    def seen(self) -> Seen:
        """The value of ``refs/disinto/seen``, and its defect if it has one. Trusts nothing in it."""
        lost = _lost(self._path)
        commit = lost or self.value(SEEN)
        file = self._path / SEEN
        if not lost and file.exists() and _loose(file) is None:
            return Seen(
                commit=self._commit_or_empty(commit), damage=f"{SEEN} of the clone cannot be read"
            )
        if not commit:
            return Seen()
        known_commit = self._commit_or_empty(commit)
        damage = (
            ""
            if known_commit
            else f"{SEEN} of the clone names {commit[:12]}, which is not a commit here"
        )
        return Seen(commit=known_commit, names=commit, damage=damage)

    def set_seen(self, commit: str) -> None:
        """Point ``refs/disinto/seen`` at a commit, whatever it contains."""
        with self._lock.held():
            file = self._path / SEEN
            if file.is_dir():
                shutil.rmtree(file)
            if not self._objects.has_commit(commit):
                raise GitFailed("update-ref", 0, f"bad object {commit}")
            ref_files.put(self._path, SEEN, commit, sync=True)
            (self._path / SEEN_LOST).unlink(missing_ok=True)

    def _commit_or_empty(self, oid: str | None) -> str:
        return oid if oid and self._objects.has_commit(oid) else ""


def _value_in(git_dir: Path, name: str) -> str | None:
    if loose := _loose(git_dir / name):
        return loose
    with suppress(OSError):  # the names of other refs may be anything
        for line in (git_dir / "packed-refs").read_bytes().split(b"\n"):
            oid, _, ref = line.partition(b" ")
            if ref == name.encode() and is_oid(oid.decode("ascii", "replace")):
                return oid.decode("ascii")
    return None


def _loose(file: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        value = file.read_text("ascii").strip()
        if is_oid(value):
            return value
    return None


def _lost(git_dir: Path) -> str | None:
    return _loose(git_dir / SEEN_LOST)
