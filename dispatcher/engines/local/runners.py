"""The runner of a run: whether the number it left means it, and a descriptor to signal it by."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from dispatcher.engines.local.spool import Spool
from dispatcher.host.process_record import ProcessRecord


def open_runner(spool: Spool, record: ProcessRecord) -> int | None:
    """A process descriptor of the runner, to be closed by the caller.

    Returns:
        None if the runner has ended, or if its number means another process here: it runs in
        another PID namespace, such as another container with the same state directory.

    Raises:
        OSError: descriptors are short.
    """
    if not record.here:
        return None
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return None
    # Asked with the descriptor in hand: from here on the number is not given to another process.
    if _started_for(spool, record) and spool.alive():
        return pidfd
    os.close(pidfd)
    return None


def _started_for(spool: Spool, record: ProcessRecord) -> bool:
    """By its command line. If /proc hides that (``hidepid=``), the namespace must do."""
    try:
        words = Path(f"/proc/{record.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return bool(record.namespace)
    return (b"--spool", os.fsencode(spool.path)) in pairwise(words)
