"""How the Python interpreter of a process that serves differs from that of a command."""

from __future__ import annotations

import gc
import sys

SWITCH_S = 0.002
"""Seconds after which Python lets another thread run. A thread that has an answer of a server needs the
interpreter for a moment only, four times for each run that starts. Python's own 5 ms are what it waits for one
that computes, such as the loop's. Much less is no better: each thread that waits looks again as often, and the
loop's own round, which is what the others wait for next, takes twice as long with 0.5 ms."""

GARBAGE = 20_000
"""Objects made, and not freed, between two looks for garbage. With Python's own 700, looking took a twentieth of the
processor's time of a dispatcher with 1,000 runs in flight, and stopped its threads for a tenth of a second."""


def prepare() -> None:
    """Set it up for the rest of this process. Call it when everything is loaded, before serving."""
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(GARBAGE)
    # What was loaded stays, and is looked through no more; that little of it is garbage does not matter.
    gc.freeze()
