"""The time since the machine's boot, which nobody can set."""

from __future__ import annotations

import time

from dispatcher.host.process_record import boot_id


def boot_clock() -> tuple[str, float]:
    """The id of the machine's boot, "" if it is unknown, and the seconds since then, also while it was
    suspended. Without such a clock the id is "".
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return "", time.monotonic()
    return boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME)
