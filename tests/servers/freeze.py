"""Freezing a process of ours, and knowing that it has stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import tenacity


@tenacity.retry(
    stop=tenacity.stop_after_delay(30),
    wait=tenacity.wait_fixed(0.01),
    retry=tenacity.retry_if_result(lambda stopped: not stopped),
)
def _has_stopped(pid: int) -> bool:
    """Whether no thread of it runs any more; it need not be a child of this process."""
    stats = (task / "stat" for task in Path(f"/proc/{pid}/task").iterdir())
    return all(stat.read_text().rpartition(") ")[2].startswith("T") for stat in stats)


def freeze(pid: int) -> None:
    """Send SIGSTOP to a process and wait until it has stopped: a signal is on its way for a while, in
    which another core may answer one more request.
    """
    os.kill(pid, signal.SIGSTOP)
    _has_stopped(pid)
