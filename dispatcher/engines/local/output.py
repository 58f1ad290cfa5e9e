"""Reads the logs of a run from given offsets, and follows them."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from dispatcher.engines.base import LogChunk, Stream, TimesNotKept
from dispatcher.engines.local.spool import Spool
from dispatcher.model.run import RunKey
from dispatcher.model.time_index import MAX_BYTES, offset_since

_PIECE = 64 * 1024
_LOOK_AGAIN_S = 0.1


class _Reader:
    """One stream's file, in the run's directory or among the kept logs."""

    def __init__(self, stream: Stream, paths: list[Path], offset: int) -> None:
        self._stream = stream
        self._paths = paths
        self._offset = offset
        self._fd = -1

    def pieces(self) -> Iterator[LogChunk]:
        """Everything not read yet."""
        if self._fd < 0:
            self._open()
        while self._fd >= 0:
            data = os.pread(self._fd, _PIECE, self._offset)
            if not data:
                return
            self._offset += len(data)
            yield LogChunk(stream=self._stream, offset=self._offset, data=data)

    def _open(self) -> None:
        for path in self._paths:
            with suppress(FileNotFoundError):
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                return

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def read(
    spool: Spool, kept: Path, *, follow: bool, offsets: Mapping[Stream, int]
) -> Iterator[LogChunk]:
    """Both streams; with ``follow`` until the runner has ended."""
    readers = [
        _Reader(
            stream,
            [spool.log(stream), spool.kept_log(kept, stream)],
            offsets.get(stream, 0),
        )
        for stream in Stream
    ]
    try:
        while True:
            # Checked before reading, so that everything written before the end is read.
            ended = not follow or not spool.alive()
            for reader in readers:
                yield from reader.pieces()
            if ended:
                return
            time.sleep(_LOOK_AGAIN_S)
    finally:
        for reader in readers:
            reader.close()


def offsets_since(spool: Spool, kept: Path, since: float) -> dict[Stream, int]:
    """See ``Scheduler.offsets_since``."""
    offsets = {}
    for stream in Stream:
        # The size first: its bytes were indexed before.
        size = _size(spool.log(stream), spool.kept_log(kept, stream))
        if size is None:
            continue
        index = _index(spool.times(stream), spool.kept_times(kept, stream))
        offset = offset_since(index, since, size=size)
        if offset is None:
            raise TimesNotKept(
                stream, "it was run by a runner of an older version, or its disk was full"
            )
        offsets[stream] = offset
    return offsets


def _size(*paths: Path) -> int | None:
    for path in paths:
        with suppress(FileNotFoundError):
            return path.stat().st_size
    return None


def _index(*paths: Path) -> bytes | None:
    """The raw bytes: without a sandbox a formula can replace the file by anything."""
    for path in paths:
        with suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    return file.read(MAX_BYTES)
    return None


def kept_logs(state_dir: Path) -> Path:
    """Directory of the logs of forgotten runs."""
    return state_dir / "logs"


def read_kept(kept: Path, key: RunKey) -> Iterator[LogChunk]:
    """Both streams of a forgotten run, as far as they are kept."""
    return read(Spool(kept, key), kept, follow=False, offsets={})


def kept_files(kept: Path, key: RunKey) -> dict[Stream, Path]:
    """The files of the streams of a forgotten run that are kept and hold anything."""
    spool = Spool(kept, key)
    files = {stream: spool.kept_log(kept, stream) for stream in Stream}
    return {stream: file for stream, file in files.items() if _size(file)}


def prune(kept: Path, *, now: float, keep_s: float) -> None:
    """Remove kept logs not written to for ``keep_s`` seconds."""
    with suppress(OSError), os.scandir(kept) as files:
        for file in files:
            with suppress(OSError):
                if now - file.stat(follow_symlinks=False).st_mtime > keep_s:
                    Path(file.path).unlink()
