"""CPU time of a process, from ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_s(pid: int, *, children: bool = False) -> float:
    """CPU seconds of a process, optionally with those of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(x) for x in fields[11 : 15 if children else 13]) / os.sysconf("SC_CLK_TCK")
