"""Freezing a process of ours, and knowing that it has stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import tenacity


def freeze(pid: int) -> None:
    """Send SIGSTOP to a process and wait until it has stopped: a signal is on its way for a while, in
    which another core may answer one more request.
    """
    os.kill(pid, signal.SIGSTOP)
    _has_stopped(pid)


@tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.001), reraise=True)
def _has_stopped(pid: int) -> None:
    """See proc_pid_stat(5); it need not be a child of this process."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert state == "T"
