"""The last lines of a run's output, for ``disinto logs --tail``.

By stream: an engine keeps two, without the order of lines between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dispatcher.cli.run_output import last_lines
from dispatcher.engines.base import LogChunk, Stream


def tail(chunks: Iterable[LogChunk], lines: int) -> Iterator[LogChunk]:
    """The last lines of each stream, one chunk for each, with the offset at which it ends. No more
    than these lines are kept in memory.
    """
    kept = dict.fromkeys(Stream, b"")
    ends: dict[Stream, int] = {}
    for chunk in chunks:
        kept[chunk.stream] = last_lines(kept[chunk.stream] + chunk.data, lines)
        ends[chunk.stream] = chunk.offset
    for stream, offset in ends.items():
        yield LogChunk(stream=stream, offset=offset, data=kept[stream])
