"""When a run's output was written: an index beside each stream, for ``disinto logs --since``.

The output itself stays byte for byte what the formula wrote, secrets taken out. The runner adds one
mark for each second in which something was written, ``<milliseconds since the epoch> <offset>`` and a
newline, before it hands the bytes on: what stands at the offset, up to the next mark, was written
in the second that begins at this time. The offset is that of a line's begin.

On Nomad, and without a sandbox, a formula may write the index of its own run; whoever reads one takes
nothing from it but where to begin.
"""

from __future__ import annotations

import re

PRECISION_S = 1.0
"""Seconds of output that one mark covers."""

MAX_BYTES = 16 * 1024 * 1024
"""Of an index; a week of output in every second takes as much."""

_MARK = re.compile(rb"(\d{1,15}) (\d{1,18})\n")


def index_name(stream: str) -> str:
    """File name of a stream's index, beside its log or the outcome."""
    return f"{stream}.times"


def encode_mark(at: float, offset: int) -> bytes:
    """One line of an index.

    Args:
        at: seconds since the epoch.
    """
    return b"%d %d\n" % (int(at * 1000), offset)


def offset_since(index: bytes | None, since: float, *, size: int) -> int | None:
    """Where the output of a stream begins that was written at a time or after it; up to
    ``PRECISION_S`` of earlier output may come first, and none that is later is left out.

    Args:
        index: as read after the size; None if there is none.
        since: seconds since the epoch.
        size: bytes of the stream.

    Returns:
        An offset, at most ``size``; None if nothing tells when the output was written.
    """
    if not size:
        return 0
    marks = list(_MARK.finditer(index or b""))
    if not marks or b"".join(mark[0] for mark in marks) != index:
        return None
    for mark in marks:
        if int(mark[1]) / 1000 + PRECISION_S > since:
            return min(int(mark[2]), size)
    return size
