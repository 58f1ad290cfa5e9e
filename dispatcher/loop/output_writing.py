"""One stream of a run's output, compressed into a file that its digest names."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dispatcher.model.result import KeptStream

UNFINISHED = "new-"
"""What the names of files begin with that are being written."""

_PIECE = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What a stream has to begin with.

    Attributes:
        size: bytes.
        sha256: of these (hex); "" for whatever is there.
    """

    size: int
    sha256: str = ""


class Unfit(Exception):
    """The engine's log is not what the runner wrote."""


class Writing:
    """Compresses one stream into a file of the directory; of more than ``limit`` bytes the first and
    the last half. Holds no more than half of that in memory. The same bytes give the same file.
    """

    def __init__(
        self, directory: Path, expected: Expected, *, action_id: str, limit: int, sha1: bool
    ) -> None:
        self._directory, self._expected, self._action_id = directory, expected, action_id
        self._written = hashlib.sha256()
        self._half, self._sha1 = limit // 2, sha1
        self._path: Path | None = None
        self._file: IO[bytes] | None = None
        self._packed: gzip.GzipFile | None = None
        self._tail: deque[bytes] = deque()
        self._head_size = self._tail_size = 0
        self.total = 0

    def write(self, data: bytes) -> None:
        if self._packed is None:
            fd, name = tempfile.mkstemp(dir=self._directory, prefix=UNFINISHED)
            self._path, self._file = Path(name), os.fdopen(fd, "wb")
            self._packed = gzip.GzipFile("", "wb", 6, self._file, mtime=0)
        data = data[: self._expected.size - self.total]
        self.total += len(data)
        self._written.update(data)
        head = data[: max(0, self._half - self._head_size)]
        self._packed.write(head)
        self._head_size += len(head)
        for at in range(len(head), len(data), _PIECE):
            self._keep(data[at : at + _PIECE])

    def _keep(self, piece: bytes) -> None:
        self._tail.append(piece)
        self._tail_size += len(piece)
        while self._tail_size - len(self._tail[0]) >= self._half:
            self._tail_size -= len(self._tail.popleft())

    @property
    def complete(self) -> bool:
        """Whether there are as many bytes as the runner wrote."""
        return self.total >= self._expected.size

    def check(self) -> None:
        """Raise ``Unfit`` unless this was what the runner wrote."""
        if not self.complete:
            raise Unfit(f"the engine has only {self.total:,} of its {self._expected.size:,} bytes")
        if self._expected.sha256 not in ("", self._written.hexdigest()):
            raise Unfit("the engine's log is not what the runner wrote")

    def kept(self) -> KeptStream:
        """Finish the file, and give it its name."""
        if self._packed is None or self._file is None or self._path is None:
            raise ValueError("nothing was written")
        tail = b"".join(self._tail)[-self._half :]
        omitted = self.total - self._head_size - len(tail)
        if omitted:
            self._packed.write(f"\n[{omitted} bytes left out here]\n".encode())
        self._packed.write(tail)
        self._packed.close()
        self._file.close()
        size = self._path.stat().st_size
        sha256 = hashlib.sha256()
        git = hashlib.new("sha1" if self._sha1 else "sha256", usedforsecurity=False)
        git.update(b"blob %d\0" % size)
        with self._path.open("rb") as file:
            while piece := file.read(_PIECE):
                sha256.update(piece)
                git.update(piece)
        self._path.rename(self._directory / file_name(self._action_id, sha256.hexdigest()))
        return KeptStream(
            bytes=self.total,
            omitted=omitted,
            packed=size,
            sha256=sha256.hexdigest(),
            object=git.hexdigest(),
        )

    def close(self) -> None:
        """Remove the file if it was not finished."""
        if self._file is not None and self._path is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)


def file_name(action_id: str, sha256: str) -> str:
    """The name of a finished file; ids of actions have no dot."""
    return f"{action_id}.{sha256}.gz"
