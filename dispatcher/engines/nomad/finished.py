"""Retention of finished jobs in Nomad, so that people can inspect them there.

No record is kept of them: a restarted dispatcher reads them from Nomad's job list, and their end
times from Nomad's records. The caller, which has claims and results, decides which may be purged;
a job that a claim still names is never purged from here.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from dispatcher.model.mounts import Mount
from dispatcher.model.run import RunKey

if TYPE_CHECKING:
    from dispatcher.engines.nomad.api import JobStub, NomadApi

MAX_KEPT = 500
"""Maximum of finished jobs kept: a dispatch compares its token with every child of its parent,
which costs nothing measurable up to this number."""


class FinishedJobs:
    """Keeps finished jobs for ``keep_s`` seconds, ``MAX_KEPT`` at most. Thread-safe.

    Args:
        prefix: of the names of runner jobs.
        keep_s: seconds; 0 purges at once.
        clock: seconds since the epoch, to compare with Nomad's records.
    """

    def __init__(
        self, api: NomadApi, *, prefix: str, keep_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._api = api
        self._prefix = prefix
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._released: dict[str, float] = {}  # released by us, in this order, with the time
        self._listed: dict[str, float] = {}  # found in Nomad's list, with the time they ended
        self._due: dict[str, RunKey] = {}

    def release(self, child: str, *, ended: bool) -> None:
        """The run is finished and its job unused: retain it for a while, or purge it.

        Args:
            ended: whether the job is known to have ended; otherwise Nomad is queried, and a
                running job stopped.
        """
        with self._lock:
            due = self._due.pop(child, None) is not None
        if due or not self._keep_s:
            self._purge(child)
            return
        if not ended:
            job = self._api.job(child)
            if job is None:
                return
            if job.get("Status") != "dead":
                self._api.stop(child)
        with self._lock:
            self._released.setdefault(child, self._clock())
            over = len(self._released) + len(self._listed) - MAX_KEPT
            oldest = list(self._released)[: max(0, over)]
        for each in oldest:
            self._purge(each)

    def due(self) -> Collection[RunKey]:
        """Runs whose finished jobs are past retention or over the maximum. Queries Nomad."""
        listed = self._api.jobs(prefix=self._prefix, meta=True)
        dead = {s["ID"]: s for s in listed if self._is_ours(s) and s.get("Status") == "dead"}
        with self._lock:
            self._released = {c: at for c, at in self._released.items() if c in dead}
            listed_before = {c: at for c, at in self._listed.items() if c in dead}
            unknown = dead.keys() - self._released.keys() - listed_before.keys()
        listed_ends = listed_before | {child: self._ended_at(dead[child]) for child in unknown}
        with self._lock:
            self._listed = {c: at for c, at in listed_ends.items() if c not in self._released}
            ended = self._listed | self._released
            self._due = {c: _key(dead[c]) for c in self._to_purge(ended) if c in dead}
            return list(self._due.values())

    def due_job(self, key: RunKey) -> str | None:
        """The job of a run that ``due`` returned."""
        with self._lock:
            return next((child for child, named in self._due.items() if named == key), None)

    def _is_ours(self, stub: JobStub) -> bool:
        """Whether a job is a child of one of our runner jobs, and not of another installation
        whose prefix starts with ours.
        """
        mounts = "|".join(re.escape(mount.value) for mount in Mount)
        pattern = rf"{re.escape(self._prefix)}(-({mounts}))*"
        return re.fullmatch(pattern, stub.get("ParentID") or "") is not None

    def _to_purge(self, ended: dict[str, float]) -> list[str]:
        oldest_first = sorted(ended, key=lambda child: ended[child])
        before = self._clock() - self._keep_s
        too_many = max(0, len(oldest_first) - MAX_KEPT)
        return [c for n, c in enumerate(oldest_first) if n < too_many or ended[c] <= before]

    def _ended_at(self, stub: JobStub) -> float:
        """When a job ended: its allocation's last change; if it never had one, when it was
        submitted, which a stop moves.
        """
        allocations = self._api.allocations(stub["ID"])
        last = max((a.get("ModifyTime", 0) for a in allocations), default=0)
        return (last or stub.get("SubmitTime", 0)) / 1e9

    def _purge(self, child: str) -> None:
        self._api.stop(child, purge=True)
        with self._lock:
            for table in (self._released, self._listed):
                table.pop(child, None)


def _key(stub: JobStub) -> RunKey:
    meta = stub.get("Meta") or {}
    return RunKey(action_id=meta.get("action_id", ""), blob=meta.get("blob", ""))
