"""Files of an allocation, logs above all: JSON frames, one after the other without a separator.

``/v1/client/fs/cat`` would be simpler for a whole file, but it answers errors with status 200 and
their text in place of the file (seen on 2.0.5).
"""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dispatcher.nomad_api.connection import Connection

_DECODER = json.JSONDecoder()


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFrame:
    """A piece of a log.

    Attributes:
        data: bytes that follow those of the frame before; empty in a heartbeat.
        file: name of the (rotated) file they are from, such as ``alloc/logs/run.stdout.0``.
        event: "", ``file deleted`` or ``file truncated``.
    """

    data: bytes = field(repr=False)
    file: str
    event: str


class FrameStream:
    """Frames of a log, or of a file; iterate it.

    Raises (while iterating):
        NotFound: no such allocation or file, its files are collected, or the task has not started.
        Unavailable: Nomad, or the node that has the file, cannot be reached (any more).
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        *,
        endpoint: str,
        doing: str,
        params: dict[str, Any],
    ) -> None:
        self._connection = connection
        self._path = path
        self._endpoint = endpoint
        self._doing = doing
        self._params = params

    def __iter__(self) -> Iterator[LogFrame]:
        with self._connection.stream(
            self._path, endpoint=self._endpoint, doing=self._doing, params=self._params
        ) as response:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            buffer = ""
            for piece in response.iter_bytes():
                buffer += decoder.decode(piece)
                frames, buffer = _frames(buffer)
                yield from frames


def _frames(buffer: str) -> tuple[list[LogFrame], str]:
    """Whole frames at the start of ``buffer``, and the rest."""
    frames: list[LogFrame] = []
    start = 0
    while True:
        while start < len(buffer) and buffer[start].isspace():
            start += 1
        try:
            frame, end = _DECODER.raw_decode(buffer, start)
        except ValueError:
            return frames, buffer[start:]
        start = end
        frames.append(
            LogFrame(
                data=base64.b64decode(frame.get("Data") or ""),
                file=frame.get("File") or "",
                event=frame.get("FileEvent") or "",
            )
        )
