"""Freezing a process of ours, and knowing that it has stopped."""

from __future__ import annotations

import os
import signal


def freeze(pid: int) -> None:
    """Send SIGSTOP to a child of this process and wait until it has stopped: a signal is on its way
    for a while, in which another core may answer one more request.
    """
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
