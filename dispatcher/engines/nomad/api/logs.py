"""Reads files of an allocation, mostly logs: JSON frames, one after the other without a separator.

``/v1/client/fs/cat`` would be simpler for a whole file, but it returns errors with status 200 and
their text in place of the file (observed on 2.0.5).
"""

from __future__ import annotations

import base64
import codecs
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispatcher.engines.nomad.api.connection import STREAM_READ_TIMEOUT_S, Connection
from dispatcher.engines.nomad.api.shapes import Json
from dispatcher.errors import Dependency, Unavailable

_DECODER = json.JSONDecoder()
_LIST = "[,]"
"""Characters around and between the items of a list."""


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

    Args:
        within_s: see ``objects``.

    Raises (while iterating):
        NotFound: no such allocation or file, its files are collected, or the task has not started.
        Unavailable: Nomad, or the node that has the file, cannot be reached (any more), or the time
            is over.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        *,
        endpoint: str,
        doing: str,
        params: dict[str, Any],
        within_s: float | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._endpoint = endpoint
        self._doing = doing
        self._params = params
        self._within_s = within_s

    def __iter__(self) -> Iterator[LogFrame]:
        for frame in objects(
            self._connection,
            self._path,
            endpoint=self._endpoint,
            doing=self._doing,
            params=self._params,
            within_s=self._within_s,
        ):
            yield LogFrame(
                data=base64.b64decode(frame.get("Data") or ""),
                file=frame.get("File") or "",
                event=frame.get("FileEvent") or "",
            )


def objects(
    connection: Connection,
    path: str,
    *,
    endpoint: str,
    doing: str,
    params: Mapping[str, Any],
    within_s: float | None = None,
) -> Iterator[Json]:
    """The objects of a response as they arrive: one after the other, or the items of a list.

    Args:
        within_s: seconds for the entire response, from the first object requested; it takes at
            most twice as long. None: only the silence between two pieces is limited.

    Raises:
        Unavailable: no response in time; others: see ``errors.meaning``.
    """
    deadline = None if within_s is None else time.monotonic() + within_s
    with connection.stream(
        path,
        endpoint=endpoint,
        doing=doing,
        params=params,
        read_timeout_s=STREAM_READ_TIMEOUT_S if within_s is None else within_s,
    ) as response:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        buffer = ""
        for piece in response.iter_bytes():
            buffer += decoder.decode(piece)
            items, buffer = _split(buffer)
            yield from items
            if deadline is not None and time.monotonic() > deadline:
                raise Unavailable(
                    Dependency.SCHEDULER,
                    f"cannot {doing}: Nomad's answer was not complete after {within_s:g} s",
                )


def _split(buffer: str) -> tuple[list[Json], str]:
    """Complete objects at the start of ``buffer``, and the rest."""
    items: list[Json] = []
    start = 0
    while True:
        while start < len(buffer) and (buffer[start].isspace() or buffer[start] in _LIST):
            start += 1
        try:
            item, end = _DECODER.raw_decode(buffer, start)
        except ValueError:
            return items, buffer[start:]
        start = end
        items.append(item)
