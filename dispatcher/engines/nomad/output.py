"""Both log streams of a task, from given offsets, while it runs and after.

Nomad's log endpoint follows forever, even past the task's end. So a follower polls whether the
allocation has ended, then closes the streams and reads the rest.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from dispatcher.engines.base import LogChunk, Stream
from dispatcher.engines.nomad.api import Allocation, NomadApi, NotFound
from dispatcher.engines.nomad.render import TASK
from dispatcher.engines.nomad.verdicts import client_ended, main_allocation
from dispatcher.errors import DisintoError, Unavailable

LOOK_EVERY_S = 1.0
"""Seconds between two polls of a follower for the allocation."""

_Chunks: TypeAlias = "queue.SimpleQueue[LogChunk | Stream | DisintoError]"
"""What the readers queue: chunks, their stream when they are done, or an error."""


def whole(api: NomadApi, alloc_id: str, offsets: Mapping[Stream, int]) -> Iterator[LogChunk]:
    """The current contents of both streams, one stream after the other."""
    for stream in Stream:
        offset = offsets.get(stream, 0)
        try:
            for frame in api.logs(alloc_id, TASK, stream.value, offset=offset):
                if frame.data:
                    offset += len(frame.data)
                    yield LogChunk(stream=stream, offset=offset, data=frame.data)
        except NotFound:
            continue  # not started, or collected


class Follower:
    """Follows the run of one dispatched job.

    Args:
        allocations: returns the allocations of the job; called about once a second.
        alive: whether a job without an allocation is still alive.
    """

    def __init__(
        self,
        api: NomadApi,
        *,
        allocations: Callable[[], list[Allocation]],
        alive: Callable[[], bool],
        offsets: Mapping[Stream, int],
    ) -> None:
        self._api = api
        self._allocations = allocations
        self._alive = alive
        self._offsets = dict(offsets)

    def follow(self) -> Iterator[LogChunk]:
        """Both streams until the run has ended or Nomad has forgotten it."""
        allocation = self._wait_for_start()
        if allocation is None:
            return
        alloc_id = allocation["ID"]
        while not client_ended(allocation):
            yield from self._live(alloc_id)
            allocation = self._current()
            if not client_ended(allocation):
                time.sleep(LOOK_EVERY_S)  # the streams broke: the node or Nomad is unavailable
        yield from whole(self._api, alloc_id, self._offsets)

    def _wait_for_start(self) -> Allocation | None:
        """The allocation once its task has started or it has ended; None if there will be none."""
        while True:
            allocation = main_allocation(self._allocations())
            if allocation is None and not self._alive():
                return None
            if allocation is not None and allocation.get("ClientStatus") != "pending":
                return allocation
            time.sleep(LOOK_EVERY_S)

    def _live(self, alloc_id: str) -> Iterator[LogChunk]:
        """Both streams until the allocation has ended or both have broken off."""
        closed = threading.Event()
        chunks: _Chunks = queue.SimpleQueue()
        for stream in Stream:
            threading.Thread(
                target=self._read,
                args=(alloc_id, stream, chunks, closed),
                name=f"disinto-log-{stream.value}",
                daemon=True,
            ).start()
        try:
            yield from self._until_end(chunks)
        finally:
            closed.set()

    def _until_end(self, chunks: _Chunks) -> Iterator[LogChunk]:
        open_streams = set(Stream)
        look_at = time.monotonic() + LOOK_EVERY_S
        while open_streams:
            try:
                item = chunks.get(timeout=max(0.0, look_at - time.monotonic()))
            except queue.Empty:
                if client_ended(self._current()):
                    return
                look_at = time.monotonic() + LOOK_EVERY_S
                continue
            if isinstance(item, LogChunk):
                self._offsets[item.stream] = item.offset
                yield item
            elif isinstance(item, Stream):
                open_streams.discard(item)
            else:
                raise item

    def _current(self) -> Allocation:
        """The current allocation. A missing one has ended; an unreachable one has not."""
        try:
            allocation = main_allocation(self._allocations())
        except Unavailable:
            return {"ClientStatus": "running"}
        return allocation if allocation is not None else {"ClientStatus": "complete"}

    def _read(
        self, alloc_id: str, stream: Stream, chunks: _Chunks, closed: threading.Event
    ) -> None:
        """In a thread of its own. Heartbeats come every second, so a stop is noticed."""
        offset = self._offsets.get(stream, 0)
        try:
            frames = self._api.logs(alloc_id, TASK, stream.value, follow=True, offset=offset)
            for frame in frames:
                if closed.is_set():
                    return
                if frame.data:
                    offset += len(frame.data)
                    chunks.put(LogChunk(stream=stream, offset=offset, data=frame.data))
        except (NotFound, Unavailable):
            pass  # the allocation shows the end of the run, not the stream
        except DisintoError as error:
            chunks.put(error)
        finally:
            chunks.put(stream)
