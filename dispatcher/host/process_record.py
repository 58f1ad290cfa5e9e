"""Records that identify a run's processes later: after a restart of the dispatcher, from another PID
namespace, or after the clock was set.

The module imports only the standard library, because the runner loads it in every job.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NAMESPACE = "/proc/self/ns/pid"
_FIELDS = 4

RLIMIT_LOCKS = 10
"""Number of a limit that Linux has not enforced since 2.4.25, keeps for every process, hands on to
its children, and shows in ``/proc/PID/limits``; getrlimit(2)."""

MARKED_LIMIT = b"Max file locks"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessRecord:
    """A process, as it recorded itself.

    Attributes:
        pid: its number, in its PID namespace.
        namespace: that namespace, as the link ``/proc/self/ns/pid`` names it; "" if unknown.
        boot: id of the machine's boot, which no two share; "" if unknown.
        monotonic: when it was recorded, by CLOCK_MONOTONIC of that boot, seconds. The clock cannot be
            set, and stops while the machine is suspended.
    """

    pid: int
    namespace: str = ""
    boot: str = ""
    monotonic: float = 0.0

    @property
    def here(self) -> bool:
        """Whether its PID is valid in our namespace; assumed if the record has no namespace."""
        return not self.namespace or (self.namespace, self.boot) == (_namespace(), boot_id())

    def age(self) -> float:
        """Seconds that the machine was awake since the record; 0.0 if unknown."""
        if not self.boot or self.boot != boot_id():
            return 0.0
        return max(0.0, time.monotonic() - self.monotonic)


def own_record() -> ProcessRecord:
    """The record of the calling process."""
    return ProcessRecord(
        pid=os.getpid(), namespace=_namespace(), boot=boot_id(), monotonic=time.monotonic()
    )


def encode_record(record: ProcessRecord) -> bytes:
    """The record as one line, the PID first."""
    fields = (record.pid, record.namespace or "-", record.boot or "-", f"{record.monotonic:.3f}")
    return (" ".join(str(field) for field in fields) + "\n").encode()


def decode_record(data: bytes) -> ProcessRecord:
    """Parse a line; one of an earlier release contains the PID alone.

    Raises:
        ValueError: it is not a record.
    """
    fields = data.decode("ascii").split()
    pid = int(fields[0]) if fields else 0
    if pid <= 1 or not data.endswith(b"\n"):
        raise ValueError("no process")
    if len(fields) < _FIELDS:
        return ProcessRecord(pid=pid)
    namespace, boot = ("" if field == "-" else field for field in fields[1:3])
    return ProcessRecord(pid=pid, namespace=namespace, boot=boot, monotonic=float(fields[3]))


def mark_of(workdir: str) -> int:
    """A number for ``RLIMIT_LOCKS`` that identifies a run's processes, whatever they change in
    their environment, session or parents. No other run has it.
    """
    import hashlib

    digest = hashlib.sha256(os.fsencode(workdir)).digest()
    return 2**61 + int.from_bytes(digest[:7], "big")  # below RLIM_INFINITY, above any real limit


def set_mark(workdir: str) -> None:
    """Mark the calling process; those it starts inherit the mark. Without effect if the limit was
    lowered before.
    """
    import resource

    mark = mark_of(workdir)
    with suppress(OSError, ValueError):
        resource.setrlimit(RLIMIT_LOCKS, (mark, mark))


def _namespace() -> str:
    try:
        return os.readlink(_NAMESPACE)  # noqa: PTH115 - pathlib is slow to load
    except OSError:
        return ""


def boot_id() -> str:
    """Id of the machine's boot, which no two share; "" if unknown."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""
