"""Opens the runner of a run by its recorded pid, if that is still the same process."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from dispatcher.engines.local.spool import Spool
from dispatcher.host.process_record import ProcessRecord


def open_runner(spool: Spool, record: ProcessRecord) -> int | None:
    """A process descriptor of the runner, to be closed by the caller.

    Returns:
        None if the runner has ended, or if its pid is another process here: it runs in
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
    # Checked with the descriptor open: from here on the pid is not reused.
    if _started_for(spool, record) and spool.alive():
        return pidfd
    os.close(pidfd)
    return None


def _started_for(spool: Spool, record: ProcessRecord) -> bool:
    """Checks the command line. If /proc hides it (``hidepid=``), the namespace must suffice."""
    try:
        arguments = Path(f"/proc/{record.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return bool(record.namespace)
    return (b"--spool", os.fsencode(spool.path)) in pairwise(arguments)
