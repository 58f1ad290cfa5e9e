"""A run's directory: the files of its runner, and the lock that shows whether one is alive.

The lock is taken by the process that starts the runner and inherited by it, so that it is held
without a gap from before the start to the runner's end. It is an open-file-description lock, which
can be tested without being taken.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import struct
from pathlib import Path

from dispatcher.engines.log import LazyLogger
from dispatcher.host.process_record import ProcessRecord, decode_record
from dispatcher.host.removal import remove_tree
from dispatcher.model.payload import (
    MAX_OUTCOME_BYTES,
    NotAuthentic,
    check_authentic,
    decode_outcome,
    encode_outcome,
)
from dispatcher.model.progress import FILE_BYTES, FILE_NAME, Progress, decode_progress
from dispatcher.model.run import Outcome, RunKey
from dispatcher.model.time_index import index_name

_log = LazyLogger("disinto.local")
_RESERVE_BYTES = 64 * 1024  # for a runner's files before the formula starts, and its outcome
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of Linux on 64 bits; see fcntl(2)
STREAMS = ("stdout", "stderr")


def _flock(kind: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def _locked(fd: int, kind: int) -> bool:
    """Take a lock; close the descriptor if another process holds it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(kind))
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _read_regular(path: Path, *, limit: int) -> bytes:
    """The raw bytes: without a sandbox a formula can replace the file by anything."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        return file.read(limit) or b""


class Spool:
    """One run's directory, whether it exists or not.

    Attributes:
        path: absolute.
        token: ``RunKey.token``; the directory's name.

    Args:
        outcome_key: of the run's claim; needed to read or write an outcome.
    """

    def __init__(self, parent: Path, key: RunKey, *, outcome_key: str = "") -> None:
        self._outcome_key = outcome_key
        self.token = key.token
        self.path = parent / key.token

    @property
    def private(self) -> Path:
        """The formula's directory."""
        return self.path / "private"

    @property
    def home(self) -> Path:
        """The formula's HOME; also the value that marks its processes."""
        return self.private / "home"

    def progress(self) -> Progress | None:
        """What the run last reported about itself; None if there is nothing of its runner's."""
        try:
            data = _read_regular(self.path / FILE_NAME, limit=FILE_BYTES + 1)
            check_authentic(data, self._outcome_key)
        except (OSError, NotAuthentic):
            return None
        return decode_progress(data)

    def log(self, stream: str) -> Path:
        return self.path / f"{stream}.log"

    def kept_log(self, keep_logs: Path, stream: str) -> Path:
        """Path of a stream's log after the run is forgotten."""
        return keep_logs / f"{self.token}.{stream}.log"

    def times(self, stream: str) -> Path:
        """The time index of a stream; see ``dispatcher.model.time_index``."""
        return self.path / index_name(stream)

    def kept_times(self, keep_logs: Path, stream: str) -> Path:
        """Path of that index after the run is forgotten."""
        return keep_logs / f"{self.token}.{index_name(stream)}"

    def exists(self) -> bool:
        return self.path.is_dir()

    def hold(self) -> int | None:
        """Take the lock, creating the directory if there is none.

        Returns:
            A descriptor whose copies hold the lock until the last is closed, or None if
            it is already held.
        """
        self.path.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(fd, fcntl.F_WRLCK):
            return None
        try:
            os.ftruncate(fd, 0)  # an earlier runner's pid may have been reused
        except BaseException:
            os.close(fd)
            raise
        return fd

    def settle(self) -> int | None:
        """Prevent new runners while it is determined how the last one ended. A shared lock: other
        processes may do the same in parallel, and no runner appears alive because of it.

        Returns:
            A descriptor to close, or None if a runner is alive after all.

        Raises:
            FileNotFoundError: there never was a runner.
        """
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        return fd if _locked(fd, fcntl.F_RDLCK) else None

    def alive(self) -> bool:
        """True while a runner is alive or about to be started."""
        try:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_RDLCK))
        finally:
            os.close(fd)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def runner(self) -> tuple[ProcessRecord, float] | None:
        """The runner's record and its start (seconds since the epoch, for people); None until it
        wrote them. Only valid while ``alive``; signal it through ``open_runner`` only.
        """
        try:
            with (self.path / "lock").open("rb") as lock:
                return decode_record(lock.read(256)), os.fstat(lock.fileno()).st_mtime
        except (FileNotFoundError, ValueError):
            return None

    def begun(self) -> bool:
        """True once the grant may have been used."""
        return (self.path / "started").exists()

    def outcome(self) -> Outcome | None:
        """The runner's outcome, or None if it left none."""
        try:
            data = self._outcome_bytes()
        except OSError:
            return None
        try:
            return decode_outcome(data, key=self._outcome_key)
        except NotAuthentic:
            # A runner that was stopped before it read its payload has no key, and started no formula.
            return None if self.begun() else _readable(data)
        except ValueError:
            return None

    def _outcome_bytes(self) -> bytes:
        return _read_regular(self.path / "outcome.json", limit=MAX_OUTCOME_BYTES)

    def has_foreign_outcome(self) -> bool:
        """True if there is an ``outcome.json`` that the runner did not write."""
        return os.path.lexists(self.path / "outcome.json") and self.outcome() is None

    def log_tail(self) -> str:
        """The end of the runner's own log, which contains no values."""
        try:
            return (self.path / "runner.log").read_text("utf-8", "replace").strip()[-300:]
        except FileNotFoundError:
            return ""

    def conclude(self, outcome: Outcome) -> None:
        """Write an outcome in place of a dead runner."""
        text = encode_outcome(outcome, key=self._outcome_key)
        try:
            _write(self.path / "outcome.json", text)
        except IsADirectoryError:
            remove_tree(self.path / "outcome.json")
            _write(self.path / "outcome.json", text)

    def prepare(self) -> None:
        """Prepare it for a runner; the files of an earlier one that did nothing are removed."""
        self.remove_private()
        self.home.mkdir(parents=True, mode=0o700)
        self.private.chmod(0o700)
        self._need_space()

    def _need_space(self) -> None:
        """Raise ``OSError`` if the disk is too full for a runner to report its outcome."""
        reserve = self.path / "room"
        fd = os.open(reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _RESERVE_BYTES)
        finally:
            os.close(fd)
            reserve.unlink()

    def note_cancel(self, reason: str) -> None:
        """Record why the runner is about to be stopped."""
        _write(self.path / "cancel", reason.encode("utf-8", "replace"))

    def remove_private(self) -> None:
        """Remove the formula's directory as far as possible; ``remove`` removes the rest."""
        self._remove(self.private)

    def _remove(self, tree: Path) -> None:
        trouble = remove_tree(tree)
        if trouble:
            _log.warning("run_files_left", run=self.token, directory=str(tree), error=trouble)

    def remove(self, *, keep_logs: Path) -> None:
        """Remove the directory; its logs are moved to ``keep_logs``, which may be on another file
        system. A log that cannot be kept is dropped, and files that cannot be removed are left and
        logged: a claim must not wait for them.
        """
        for stream in STREAMS:
            try:
                if self._keep(self.log(stream), self.kept_log(keep_logs, stream)):
                    self._keep(self.times(stream), self.kept_times(keep_logs, stream))
            except OSError as error:
                _log.warning("log_not_kept", run=self.token, stream=stream, error=error.strerror)
        self._remove(self.path)

    @staticmethod
    def _keep(log: Path, target: Path) -> bool:
        """False if there is nothing to keep."""
        try:
            if not log.stat().st_size:
                return False
        except FileNotFoundError:
            return False
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            log.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            unfinished = target.with_name(f"{target.name}.{os.getpid()}")
            try:
                shutil.copyfile(log, unfinished)
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)
        return True


def _readable(data: bytes) -> Outcome | None:
    try:
        return decode_outcome(data)
    except ValueError:
        return None


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    unfinished.replace(path)
