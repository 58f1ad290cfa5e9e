"""Reads objects through one persistent ``git cat-file`` process."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import threading
import time
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

_PIECE = 64 * 1024
"""Bytes read at a time, at least: what a pipe holds."""


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
                infos.extend(_header(back) for _ in chunk)
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
                    header = _header(back)
                    if header is None:
                        # The exchange is aborted here: the remaining answers are dropped.
                        raise GitFailed("cat-file", 0, f"missing object {oid}")
                    by_oid[oid] = back.exactly(header.size + 1)[:-1]
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
    def _conversation(self) -> Iterator[tuple[IO[bytes], _Answers]]:
        with self._lock:
            process = self._process
            folder = self._inode()
            if process is None or process.poll() is not None or folder != self._folder:
                self._end()  # also if another process has rebuilt the clone
                self._folder = folder
                process = self._process = self._start()
            try:
                assert process.stdin is not None  # noqa: S101 - for the type checker
                assert process.stdout is not None  # noqa: S101
                yield process.stdin, _Answers(process.stdout, limit_s=LOCAL_TIMEOUT_S)
            except (EOFError, BrokenPipeError, TimeoutError) as ended:
                if isinstance(ended, TimeoutError):
                    process.kill()
                code = process.wait()
                text = self._complaints()
                self._end()
                raise GitFailed("cat-file", code, text or "unable to read objects") from ended
            except BaseException:
                # answers may be left in the pipe, and must not be read for another request
                self._end()
                raise

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


class _Answers:
    """Reads the answers of one conversation, up to a time limit: without a thread that watches it, whose
    start would take longer than most answers.

    Args:
        pipe: from which nothing else reads.
        limit_s: seconds from now.
    """

    def __init__(self, pipe: IO[bytes], *, limit_s: float) -> None:
        self._fd = pipe.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._until = time.monotonic() + limit_s
        self._data = bytearray()

    def line(self) -> bytes:
        """The next line, with its end. Raises ``EOFError`` or ``TimeoutError``."""
        start = 0
        while (end := self._data.find(b"\n", start)) < 0:
            start = len(self._data)
            self._read(_PIECE)
        return self._taken(end + 1)

    def exactly(self, size: int) -> bytes:
        """So many bytes. Raises ``EOFError`` or ``TimeoutError``."""
        while (missing := size - len(self._data)) > 0:
            self._read(max(missing, _PIECE))
        return self._taken(size)

    def _read(self, size: int) -> None:
        left_s = self._until - time.monotonic()
        if left_s <= 0 or not self._poll.poll(left_s * 1000):
            raise TimeoutError
        data = os.read(self._fd, size)
        if not data:
            raise EOFError
        self._data += data

    def _taken(self, size: int) -> bytes:
        data = bytes(memoryview(self._data)[:size])
        del self._data[:size]
        return data


def _header(back: _Answers) -> ObjectInfo | None:
    fields = back.line().decode("utf-8", "replace").split()
    if fields[-1:] == ["missing"] or len(fields) != 3:
        return None
    return ObjectInfo(fields[0], fields[1], int(fields[2]))


def _chunks(names: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while chunk := list(islice(rest, size)):
        yield chunk
