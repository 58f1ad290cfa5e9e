"""Scheduler that runs actions as processes of this machine."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dispatcher.engines.base import LogChunk, Stream, payload_of
from dispatcher.engines.local import output
from dispatcher.engines.local.endings import Endings
from dispatcher.engines.local.isolation import Isolation
from dispatcher.engines.local.launch import launch, not_startable
from dispatcher.engines.local.monitor import ProcessMonitor, Watched
from dispatcher.engines.local.runners import open_runner
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.engines.local.spool import Spool
from dispatcher.engines.log import LazyLogger
from dispatcher.errors import Dependency, Misconfigured, Unavailable, reason_of
from dispatcher.host.process_record import ProcessRecord
from dispatcher.model.progress import Progress
from dispatcher.model.run import (
    Claim,
    Observation,
    Placement,
    RunKey,
    RunSpec,
    RunState,
    WrappedGrant,
)
from dispatcher.settings.jobs import class_names, class_settings

if TYPE_CHECKING:
    from dispatcher.settings import Settings

SLACK_S = 150.0
"""Seconds a runner may live beyond timeout and grace: it may wait a minute for Vault, and has its
own limits for killing and for slow disks, which are shorter. After them it is killed."""

_TOKEN_PARTS = 2  # see ``RunKey.token``
_HOLD_TRIES = 200
_HOLD_PAUSE_S = 0.05
_PRUNE_EVERY_S = 3600.0
_MACHINE_WIDE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE})
"""Errors of the machine rather than of one run: descriptors, memory, the disk."""

_log = LazyLogger("disinto.local")


@dataclass(slots=True)
class _TrackedRun:
    """A run this object has observed, and whether its runner is monitored."""

    spool: Spool
    observation: Observation
    monitored: bool = False


class LocalScheduler:
    """See ``dispatcher.engines.base.Scheduler`` for the methods.

    A run is a directory ``<state_dir>/runs/<key>/`` and a runner process in a session of its own.
    Any process with the same ``state_dir`` may observe, read and cancel runs; one that died leaves
    them running, and the next restores them from their directories. The logs of forgotten runs stay
    in ``<state_dir>/logs/`` for ``[local] keep_logs_s``.

    Args:
        settings: uses ``state_dir``, ``local`` and ``vault.cacert``.
        wake: called from a thread of this object when a run has ended.
    """

    def __init__(self, settings: Settings, *, wake: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._wake = wake
        state = settings.state_dir.resolve()
        self._runs = state / "runs"
        self._isolation = Isolation(settings, runs=self._runs)
        self._kept_logs = output.kept_logs(state)
        self._tracked: dict[str, _TrackedRun] = {}
        self._lock = threading.Lock()
        self._submitting: dict[str, threading.Lock] = {}
        self._endings = Endings()
        self._monitor = ProcessMonitor()
        self._node = socket.gethostname()
        self._pruned_at: float | None = None
        self._unreadable_runs: set[str] = set()  # their observation failed and was logged

    def submit(
        self,
        spec: RunSpec,
        grant: WrappedGrant,
        *,
        again: bool = False,  # noqa: ARG002 - the spool directory is unique to the run
    ) -> str:
        """Start a runner for a run that has none and has not begun.

        Raises:
            Misconfigured: the sandbox cannot be used. The run may be submitted again.
        """
        spool = Spool(self._runs, spec.key, outcome_key=spec.outcome_key)
        payload = payload_of(spec, grant)
        with self._lock:
            run_lock = self._submitting.setdefault(spool.token, threading.Lock())
        try:
            command = self._isolation.command(spool, spec)
            with run_lock:
                self._start(spool, spec, payload, command)
        except (OSError, ValueError) as error:
            raise not_startable(spool, error) from None
        finally:
            with self._lock:
                self._submitting.pop(spool.token, None)
        return spool.token

    def _start(self, spool: Spool, spec: RunSpec, payload: bytes, command: list[str]) -> None:
        self._runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _hold(spool)
        if lock is None:
            return
        try:
            if spool.begun() or spool.outcome() is not None:
                return
            spool.prepare()
            if not command:
                self._isolation.link_mounts(spool, spec)
            process = launch(
                spool,
                payload,
                lock=lock,
                settings=self._settings,
                sandbox=command,
            )
        finally:
            os.close(lock)
        run = _TrackedRun(spool, self._running(spool, time.time()))
        with self._lock:
            self._tracked[spool.token] = run

        def ended(overdue: bool) -> None:  # noqa: FBT001
            self._ended(run, overdue=overdue, code=process.wait())

        self._monitor_runner(run, process.pid, self._lifetime(spec.timeout_s), ended)

    def observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        """Served from memory for tracked runs, from disk for all others."""
        observations = {}
        for claim in claims:
            observation = self._observed(claim)
            if observation is not None:
                observations[claim.key] = observation
        return observations

    def _observed(self, claim: Claim) -> Observation | None:
        """One run. A defect of its directory neither hides other runs nor makes this one look
        unknown, which would count as ended.

        Raises:
            Unavailable: the machine lacks resources that observing any run needs.
        """
        run = self._tracked.get(claim.key.token)
        if run is not None and (run.monitored or run.observation.state is RunState.ENDED):
            return run.observation
        try:
            observation = self._read_state(claim)
        except Exception as error:  # noqa: BLE001
            if isinstance(error, OSError) and error.errno in _MACHINE_WIDE:
                raise Unavailable(
                    Dependency.SCHEDULER,
                    f"runs cannot be observed: {error.filename or self._runs}: {error.strerror}",
                    remedy="Check open files, memory and the disk of the state directory.",
                ) from None
            return self._unreadable(claim, error)
        self._unreadable_runs.discard(claim.key.token)
        return observation

    def _unreadable(self, claim: Claim, error: Exception) -> Observation:
        """A running observation for as long as the state cannot be read; logged once."""
        spool = Spool(self._runs, claim.key)
        reason = f"its directory {spool.path} cannot be read: {reason_of(error)}"
        if not isinstance(error, OSError):
            reason = f"it cannot be observed: unexpected {type(error).__name__}"
        if spool.token not in self._unreadable_runs:
            self._unreadable_runs.add(spool.token)
            _log.error("run_not_observed", run=spool.token, error=reason, exc_info=error)
        return replace(self._running(spool, 0.0), reason=reason)

    def logs(
        self,
        claim: Claim,
        *,
        follow: bool = False,
        offsets: Mapping[Stream, int] | None = None,
    ) -> Iterator[LogChunk]:
        """Also for ``[local] keep_logs_s`` after the run was forgotten."""
        spool = Spool(self._runs, claim.key)
        return output.read(spool, self._kept_logs, follow=follow, offsets=offsets or {})

    def offsets_since(self, claim: Claim, since: float) -> Mapping[Stream, int]:
        """Also for ``[local] keep_logs_s`` after the run was forgotten."""
        return output.offsets_since(Spool(self._runs, claim.key), self._kept_logs, since)

    def told(self, notice: bytes) -> bool:  # noqa: ARG002
        """See ``Scheduler.told``. This engine notices ends by itself."""
        return False

    def progress(self, claims: Collection[Claim]) -> Mapping[RunKey, Progress]:
        """See ``Scheduler.progress``."""
        found = (
            (claim.key, Spool(self._runs, claim.key, outcome_key=claim.outcome_key).progress())
            for claim in claims
        )
        return {key: progress for key, progress in found if progress is not None}

    def cancel(self, claim: Claim, *, reason: str) -> None:
        """Signal the runner to stop; one that has not read its payload yet reads the reason there.

        Raises:
            Misconfigured: the runner cannot be signalled from here.
        """
        spool = Spool(self._runs, claim.key)
        if not spool.alive():
            return
        runner = spool.runner()
        if runner is not None and not runner[0].here:
            raise Misconfigured(
                f"the runner of {claim.key.action_id} is process {runner[0].pid} of another PID "
                "namespace, such as another container, and cannot be signalled from here",
                remedy="Run this command where 'disinto serve' runs.",
            )
        with suppress(OSError):  # it is stopped even without a reason
            spool.note_cancel(reason)
        pidfd = open_runner(spool, runner[0]) if runner is not None else None
        if pidfd is None:
            return
        try:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        finally:
            os.close(pidfd)

    def kept(self) -> Collection[RunKey]:
        """Every run's directory, also of runs whose claim was lost or never written."""
        self._prune()
        try:
            names = os.listdir(self._runs)  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return ()
        parts = [name.split(".") for name in names]
        return [RunKey(action_id=p[0], blob=p[1]) for p in parts if len(p) == _TOKEN_PARTS]

    def forget(self, claim: Claim) -> None:
        """Remove the run's directory; its logs stay for ``[local] keep_logs_s``. A live run is
        left alone.
        """
        spool = Spool(self._runs, claim.key)
        run = self._tracked.get(spool.token)
        # The lock of an ended run may still appear held: a process that another thread is just
        # starting has a copy of every descriptor.
        if (run is None or run.observation.state is not RunState.ENDED) and spool.alive():
            return
        if spool.exists():
            spool.remove(keep_logs=self._kept_logs)
        with self._lock:
            self._tracked.pop(spool.token, None)
        self._unreadable_runs.discard(spool.token)
        self._endings.forget(spool)
        self._prune()

    def _prune(self) -> None:
        """Remove expired logs; at most once an hour."""
        now = time.monotonic()
        if self._pruned_at is None or now - self._pruned_at >= _PRUNE_EVERY_S:
            self._pruned_at = now
            keep_s = self._settings.section(LocalSettings).keep_logs_s
            output.prune(self._kept_logs, now=time.time(), keep_s=keep_s)

    # While it runs

    def _lifetime(self, timeout_s: float) -> float:
        """Seconds after which a runner is overdue, with the longest grace that any class has."""
        classes = (class_settings(self._settings, name) for name in class_names(self._settings))
        grace_s = self._settings.section(LocalSettings).kill_grace_s
        return timeout_s + max(grace_s, *(each.kill_grace_s for each in classes)) + SLACK_S

    def _monitor_runner(
        self,
        run: _TrackedRun,
        pid: int,
        seconds: float,
        ended: Callable[[bool], None],
        *,
        record: ProcessRecord | None = None,
    ) -> None:
        """Monitor a runner. If descriptors are short or its process is out of reach, only polling
        notices its end.

        Args:
            record: its own process record; None for a child, whose pid is not reused before it
                is waited for.
        """
        with suppress(OSError):
            pidfd = os.pidfd_open(pid) if record is None else open_runner(run.spool, record)
            if pidfd is None:
                return
            run.monitored = True
            deadline = time.monotonic() + seconds
            self._monitor.add(pidfd, Watched(pid=pid, deadline=deadline, ended=ended))

    def _read_state(self, claim: Claim) -> Observation | None:
        """The state in the run's directory; a live runner is monitored from now on."""
        spool = Spool(self._runs, claim.key, outcome_key=claim.outcome_key)
        if spool.token in self._submitting:
            return self._running(spool, time.time())
        if spool.alive():
            return self._adopt(spool, claim)
        return self._conclude(spool, overdue=False)

    def _adopt(self, spool: Spool, claim: Claim) -> Observation:
        runner = spool.runner()
        if runner is None:
            return self._running(spool, time.time())
        record, since = runner
        with self._lock:
            run = self._tracked.setdefault(
                spool.token, _TrackedRun(spool, self._running(spool, since))
            )
            if not run.monitored and run.observation.state is RunState.RUNNING:
                lifetime = self._lifetime(claim.timeout_s) - record.age()

                def ended(overdue: bool) -> None:  # noqa: FBT001
                    self._ended(run, overdue=overdue, code=None)

                left = max(0.0, lifetime)
                self._monitor_runner(run, record.pid, left, ended, record=record)
        return run.observation

    def _running(self, spool: Spool, since: float) -> Observation:
        return Observation(
            state=RunState.RUNNING,
            engine_id=spool.token,
            engine=self._placement(spool),
            since=since,
        )

    def _placement(self, spool: Spool) -> Placement:
        return Placement(kind="local", alloc=spool.token, node=self._node)

    # After its end

    def _ended(self, run: _TrackedRun, *, overdue: bool, code: int | None) -> None:
        """A monitored runner has ended; called in the monitoring thread."""
        try:
            observation = self._conclude(run.spool, overdue=overdue, code=code)
            with self._lock:
                if observation is None:
                    self._tracked.pop(run.spool.token, None)
                elif run.observation.state is not RunState.ENDED:
                    run.observation = observation
        finally:
            run.monitored = False
            self._wake()

    def _conclude(
        self, spool: Spool, *, overdue: bool, code: int | None = None
    ) -> Observation | None:
        """How a run without a runner ended; None if it never began.

        No runner can be started in the meantime. If the lock is held, the run is alive after all,
        unless we waited for the runner: then a process that is being started has a copy of it.

        Args:
            overdue: its runner hung and was killed.
            code: exit code of the runner if it was our child.
        """
        try:
            lock = spool.settle()
        except FileNotFoundError:
            return None
        if lock is None and code is None:
            return self._running(spool, time.time())
        try:
            outcome = self._endings.conclude(spool, overdue=overdue, code=code)
        finally:
            if lock is not None:
                os.close(lock)
        if outcome is None:
            return None
        observation = Observation(
            state=RunState.ENDED,
            engine_id=spool.token,
            engine=self._placement(spool),
            outcome=outcome,
            since=outcome.finished_at,
        )
        with self._lock:
            self._tracked.setdefault(
                spool.token, _TrackedRun(spool, observation)
            ).observation = observation
        return observation


def _hold(spool: Spool) -> int | None:
    """The lock for a new runner, or None if one is alive; waits while another process holds it
    to read how the last one ended."""
    for _ in range(_HOLD_TRIES):
        lock = spool.hold()
        if lock is not None or spool.alive():
            return lock
        time.sleep(_HOLD_PAUSE_S)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(spool.path))
