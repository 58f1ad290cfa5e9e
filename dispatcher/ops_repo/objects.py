"""Reads objects through one persistent ``git cat-file`` process."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.git import LOCAL_TIMEOUT_S, Git
from dispatcher.ops_repo.processes import end_group
from dispatcher.ops_repo.records import is_oid

CHUNK = 400
"""Requests written before their answers are read; they fit the pipe, so that neither side waits
for the other."""

_COMPLAINTS_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Hash, type (``blob``, ``tree``, ``commit``, ``tag``) and size in bytes of an object."""

    oid: str
    kind: str
    size: int


class Objects:
    """One ``git cat-file --batch-command``, started when first needed. Thread-safe."""

    def __init__(self, git: Git, git_dir: Path) -> None:
        self._git = git
        self._git_dir = git_dir
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._folder = 0

    def info(self, names: Sequence[str]) -> list[ObjectInfo | None]:
        """The object of each name (a hash or a ref); None if there is none."""
        infos: list[ObjectInfo | None] = []
        with self._conversation() as (to, back):
            for chunk in _chunks(names, CHUNK):
                to.write(b"".join(f"info {n}\n".encode() for n in chunk))
                to.flush()
                infos.extend(self._header(back) for _ in chunk)
        return infos

    def has_commit(self, oid: str) -> bool:
        """Whether exactly this commit exists."""
        (info,) = self.info([oid]) if is_oid(oid) else (None,)
        return info is not None and info.kind == "commit"

    def contents(self, oids: Iterable[str]) -> dict[str, bytes]:
        """The bytes of each object. An object that is missing is a damaged clone: GitFailed."""
        by_oid: dict[str, bytes] = {}
        with self._conversation() as (to, back):
            for chunk in _chunks(oids, CHUNK):
                to.write(b"".join(f"contents {n}\n".encode() for n in chunk))
                to.flush()
                for oid in chunk:
                    header = self._header(back)
                    if header is None:
                        # The exchange is aborted here: the remaining answers are dropped.
                        raise GitFailed("cat-file", 0, f"missing object {oid}")
                    by_oid[oid] = _exactly(back, header.size)
                    _exactly(back, 1)
        return by_oid

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            end_group(self._process)
            self._process = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    @contextmanager
    def _conversation(self) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        with self._lock:
            process = self._process
            folder = self._inode()
            if process is None or process.poll() is not None or folder != self._folder:
                self._end()  # also if another process has rebuilt the clone
                self._folder = folder
                process = self._process = self._start()
            watch = threading.Timer(LOCAL_TIMEOUT_S, process.kill)
            watch.daemon = True
            watch.start()
            try:
                assert process.stdin is not None  # noqa: S101 - for the type checker
                assert process.stdout is not None  # noqa: S101
                yield process.stdin, process.stdout
            except (EOFError, BrokenPipeError) as ended:
                code = process.wait()
                text = self._complaints()
                self._end()
                raise GitFailed("cat-file", code, text or "unable to read objects") from ended
            except BaseException:
                # answers may be left in the pipe, and must not be read for another request
                self._end()
                raise
            finally:
                watch.cancel()

    def _complaints(self) -> str:
        """The beginning of what git wrote to its standard error."""
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return self._errors.read(_COMPLAINTS_BYTES).decode("utf-8", "replace")

    def _inode(self) -> int:
        try:
            return self._git_dir.stat().st_ino
        except OSError:
            return 0

    def _start(self) -> subprocess.Popen[bytes]:
        # Not a pipe: of a damaged clone git has more to say than fits one before it answers.
        with suppress(OSError):  # no space
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        return subprocess.Popen(
            ["git", f"--git-dir={self._git_dir}", "cat-file", "--batch-command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors or subprocess.DEVNULL,
            env=self._git.environment(),
            cwd="/",
            start_new_session=True,
        )

    @staticmethod
    def _header(back: IO[bytes]) -> ObjectInfo | None:
        line = back.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        fields = line.decode("utf-8", "replace").split()
        if fields[-1:] == ["missing"] or len(fields) != 3:
            return None
        return ObjectInfo(fields[0], fields[1], int(fields[2]))


def _exactly(back: IO[bytes], size: int) -> bytes:
    data = back.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _chunks(names: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while chunk := list(islice(rest, size)):
        yield chunk
