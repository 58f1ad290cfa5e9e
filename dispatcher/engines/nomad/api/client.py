"""``NomadApi``: all calls in one object."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import cast

from dispatcher.engines.nomad.api.cluster import ClusterCalls
from dispatcher.engines.nomad.api.connection import quoted
from dispatcher.engines.nomad.api.errors import NotFound
from dispatcher.engines.nomad.api.events import EventStream
from dispatcher.engines.nomad.api.logs import FrameStream, objects
from dispatcher.engines.nomad.api.runs import RunCalls
from dispatcher.engines.nomad.api.shapes import FileInfo
from dispatcher.engines.nomad.api.variables import VariableCalls


class NomadApi(RunCalls, ClusterCalls, VariableCalls):
    """Nomad, one method per call; thread-safe. Errors raised: see ``dispatcher.engines.nomad.api``.

    Methods that read one thing return None if Nomad does not know it.

    Args:
        settings: address, TLS, region, namespace; every call carries the latter two.
        environ: for NOMAD_TOKEN; see ``connection``.
        transport: instead of the network, in tests.
    """

    def events(self, topics: Collection[str]) -> EventStream:
        """The event stream; ``topics`` such as ``Allocation`` or ``Job:web``. Connects when it is
        iterated."""
        return EventStream(self._connection, topics)

    def logs(
        self,
        alloc_id: str,
        task: str,
        stream: str,
        *,
        follow: bool = False,
        offset: int = 0,
        origin: str = "start",
    ) -> FrameStream:
        """A log of a task. Connects when it is iterated.

        Args:
            stream: ``stdout`` or ``stderr``.
            follow: continue forever; a frame without data then comes every second, so that the
                reader can check whether the task has ended.
            offset: bytes from ``origin``, counted over the rotated files that are still kept.
            origin: ``start`` or ``end``.
        """
        return FrameStream(
            self._connection,
            f"client/fs/logs/{quoted(alloc_id)}",
            endpoint="fs.logs",
            doing=f"read logs of allocation {alloc_id}",
            params={
                "task": task,
                "type": stream,
                "follow": "true" if follow else "false",
                "offset": offset,
                "origin": origin,
                "plain": "false",
            },
        )

    def file(self, alloc_id: str, path: str, *, within_s: float) -> FileInfo | None:
        """Metadata of a file of an allocation, links not followed; None if there is none.

        It is looked up in its directory's listing: ``/v1/client/fs/stat`` opens the file to
        determine its type, and waits forever for a FIFO's writer (observed on 2.0.5).

        Args:
            within_s: see ``logs.objects``.
        """
        directory, _, name = path.rpartition("/")
        entries = self.files(alloc_id, directory, within_s=within_s)
        return next((entry for entry in entries if entry.get("Name") == name), None)

    def files(self, alloc_id: str, directory: str, *, within_s: float) -> Iterator[FileInfo]:
        """The entries of a directory of an allocation, links not followed; none if it does not
        exist.

        Args:
            within_s: see ``logs.objects``.
        """
        try:
            for entry in objects(
                self._connection,
                f"client/fs/ls/{quoted(alloc_id)}",
                endpoint="fs.list",
                doing=f"list {directory} of allocation {alloc_id}",
                params={"path": directory},
                within_s=within_s,
            ):
                yield cast(FileInfo, entry)
        except NotFound:
            return

    def cat(
        self, alloc_id: str, path: str, *, limit: int, within_s: float | None = None
    ) -> bytes | None:
        """The bytes of a file of an allocation, cut off soon after ``limit``; None if there is
        none. The read of a file that is not regular may never return: see ``file``.

        Args:
            within_s: see ``logs.objects``.
        """
        frames = FrameStream(
            self._connection,
            f"client/fs/stream/{quoted(alloc_id)}",
            endpoint="fs.read",
            doing=f"read {path} of allocation {alloc_id}",
            params={"path": path, "follow": "false", "offset": 0, "origin": "start"},
            within_s=within_s,
        )
        try:
            data = bytearray()
            for frame in frames:
                data += frame.data
                if len(data) > limit:
                    break
            return bytes(data)
        except NotFound:
            return None
