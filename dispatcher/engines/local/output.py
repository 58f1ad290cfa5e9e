"""Read the logs of a run, from offsets on, and follow them."""

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
from dispatcher.time_index import MAX_BYTES, offset_since

_PIECE = 64 * 1024
_LOOK_AGAIN_S = 0.1


class _Reader:
    """One stream's file, wherever it lies by now."""

    def __init__(self, stream: Stream, places: list[Path], offset: int) -> None:
        self._stream = stream
        self._places = places
        self._offset = offset
        self._fd = -1

    def pieces(self) -> Iterator[LogChunk]:
        """What is there and was not read yet."""
        if self._fd < 0:
            self._open()
        while self._fd >= 0:
            data = os.pread(self._fd, _PIECE, self._offset)
            if not data:
                return
            self._offset += len(data)
            yield LogChunk(stream=self._stream, offset=self._offset, data=data)

    def _open(self) -> None:
        for place in self._places:
            with suppress(FileNotFoundError):
                self._fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
                return

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def read(
    spool: Spool, kept: Path, *, follow: bool, offsets: Mapping[Stream, int]
) -> Iterator[LogChunk]:
    """Both streams; with ``follow`` until no runner lives any more."""
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
            # Asked before reading: what was written before the end is then read for certain.
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
        # The size first: what is there by then was marked before.
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


def _size(*places: Path) -> int | None:
    for place in places:
        with suppress(FileNotFoundError):
            return place.stat().st_size
    return None


def _index(*places: Path) -> bytes | None:
    """Whatever may stand there: without a sandbox a formula can put anything in its place."""
    for place in places:
        with suppress(OSError):
            fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    return file.read(MAX_BYTES)
    return None


def kept_logs(state_dir: Path) -> Path:
    """The directory of the logs of runs that are forgotten."""
    return state_dir / "logs"


def read_kept(kept: Path, key: RunKey) -> Iterator[LogChunk]:
    """Both streams of a run that is forgotten, as far as they are kept."""
    return read(Spool(kept, key), kept, follow=False, offsets={})


def prune(kept: Path, *, now: float, keep_s: float) -> None:
    """Remove kept logs that nobody has written to for ``keep_s`` seconds."""
    with suppress(OSError), os.scandir(kept) as files:
        for file in files:
            with suppress(OSError):
                if now - file.stat(follow_symlinks=False).st_mtime > keep_s:
                    Path(file.path).unlink()
