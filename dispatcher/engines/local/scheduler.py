"""The scheduler over the processes of this machine."""

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
from functools import cached_property
from typing import TYPE_CHECKING

from dispatcher.engines.base import CannotSubmit, LogChunk, Stream, payload_of
from dispatcher.engines.local import output, sandbox
from dispatcher.engines.local.endings import Endings
from dispatcher.engines.local.launch import launch, not_startable
from dispatcher.engines.local.monitor import ProcessMonitor, Watched
from dispatcher.engines.local.runners import open_runner
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.engines.local.spool import Spool
from dispatcher.engines.log import LazyLogger
from dispatcher.errors import Dependency, Misconfigured, Unavailable, reason_of
from dispatcher.host.process_record import ProcessRecord
from dispatcher.model.run import (
    Claim,
    Engine,
    FormulaKind,
    Observation,
    RunKey,
    RunSpec,
    RunState,
    WrappedGrant,
)
from dispatcher.model.verdicts import Verdict

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
"""Errors that say nothing of one run: descriptors, memory, the disk."""

_log = LazyLogger("disinto.local")


@dataclass(slots=True)
class _Known:
    """A run this object has seen: what it last knew of it, and whether a thread watches it."""

    spool: Spool
    seen: Observation
    watched: bool = False


class LocalScheduler:
    """See ``dispatcher.engines.base.Scheduler`` for the methods.

    A run is a directory ``<state_dir>/runs/<key>/`` and a runner process in a session of its own.
    Any process with the same ``state_dir`` may observe, read and cancel runs; one that died leaves
    them running, and the next picks them up from their folders. The logs of forgotten runs stay
    in ``<state_dir>/logs/`` for ``[local] keep_logs_s``.

    Args:
        settings: uses ``state_dir``, ``local`` and ``vault.cacert``.
        wake: called, in a thread of this object, when a run has ended.
    """

    def __init__(self, settings: Settings, *, wake: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._wake = wake
        state = settings.state_dir.resolve()
        self._runs = state / "runs"
        self._kept_logs = output.kept_logs(state)
        self._known: dict[str, _Known] = {}
        self._turn = threading.Lock()
        self._submitting: dict[str, threading.Lock] = {}
        self._endings = Endings()
        self._monitor = ProcessMonitor()
        self._node = socket.gethostname()
        self._pruned_at: float | None = None
        self._unread: set[str] = set()  # runs whose observation failed, and was logged

    def submit(self, spec: RunSpec, grant: WrappedGrant) -> str:
        """Start a runner for a run that has none and has not begun.

        Raises:
            Misconfigured: the sandbox cannot be used. The run may be submitted again.
        """
        spool = Spool(self._runs, spec.key, outcome_key=spec.outcome_key)
        payload = payload_of(spec, grant)
        with self._turn:
            alone = self._submitting.setdefault(spool.token, threading.Lock())
        try:
            command = self._sandboxed(spool, spec)
            with alone:
                self._start(spool, spec, payload, command)
        except (OSError, ValueError) as error:
            raise not_startable(spool, error) from None
        finally:
            with self._turn:
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
                self._link_mounts(spool, spec)
            process = launch(
                spool,
                payload,
                lock=lock,
                settings=self._settings,
                sandbox=command,
            )
        finally:
            os.close(lock)
        known = _Known(spool, self._running(spool, time.time()))
        with self._turn:
            self._known[spool.token] = known

        def ended(overdue: bool) -> None:  # noqa: FBT001
            self._ended(known, overdue=overdue, code=process.wait())

        self._watch_over(known, process.pid, self._lifetime(spec.timeout_s), ended)

    def observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        """A look into memory for each run known; a look at the disk for those that are not."""
        seen = {}
        for claim in claims:
            observation = self._observed(claim)
            if observation is not None:
                seen[claim.key] = observation
        return seen

    def _observed(self, claim: Claim) -> Observation | None:
        """One run. What is wrong with its directory hides no other run, and never makes it look
        unknown: then it would be taken for one that ended.

        Raises:
            Unavailable: the machine lacks what looking at any run needs.
        """
        known = self._known.get(claim.key.token)
        if known is not None and (known.watched or known.seen.state is RunState.ENDED):
            return known.seen
        try:
            observation = self._look(claim)
        except Exception as error:  # noqa: BLE001
            if isinstance(error, OSError) and error.errno in _MACHINE_WIDE:
                raise Unavailable(
                    Dependency.SCHEDULER,
                    f"runs cannot be observed: {error.filename or self._runs}: {error.strerror}",
                    remedy="Check open files, memory and the disk of the state directory.",
                ) from None
            return self._unreadable(claim, error)
        self._unread.discard(claim.key.token)
        return observation

    def _unreadable(self, claim: Claim, error: Exception) -> Observation:
        """The run for as long as nobody can tell what became of it; logged once."""
        spool = Spool(self._runs, claim.key)
        reason = f"its directory {spool.path} cannot be read: {reason_of(error)}"
        if not isinstance(error, OSError):
            reason = f"it cannot be observed: unexpected {type(error).__name__}"
        if spool.token not in self._unread:
            self._unread.add(spool.token)
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

    def cancel(self, claim: Claim, *, reason: str) -> None:
        """Ask the runner to stop; one that has not read its payload yet finds the reason there.

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
        with suppress(OSError):  # without a reason it is stopped all the same
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
        """Every run's folder, also of runs whose claim was lost or never stood."""
        self._prune()
        try:
            names = os.listdir(self._runs)  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return ()
        parts = [name.split(".") for name in names]
        return [RunKey(action_id=p[0], blob=p[1]) for p in parts if len(p) == _TOKEN_PARTS]

    def forget(self, claim: Claim) -> None:
        """Remove the run's folder; its logs stay for ``[local] keep_logs_s``. One that lives is
        left alone.
        """
        spool = Spool(self._runs, claim.key)
        known = self._known.get(spool.token)
        # Of a run known to have ended the lock may still seem held: a process that another thread
        # is starting this moment has a copy of every descriptor.
        if (known is None or known.seen.state is not RunState.ENDED) and spool.alive():
            return
        if spool.exists():
            spool.remove(keep_logs=self._kept_logs)
        with self._turn:
            self._known.pop(spool.token, None)
        self._unread.discard(spool.token)
        self._endings.forget(spool)
        self._prune()

    def _prune(self) -> None:
        """Remove kept logs whose time is over; at most once an hour."""
        now = time.monotonic()
        if self._pruned_at is None or now - self._pruned_at >= _PRUNE_EVERY_S:
            self._pruned_at = now
            keep_s = self._settings.section(LocalSettings).keep_logs_s
            output.prune(self._kept_logs, now=time.time(), keep_s=keep_s)

    # Before the start

    @cached_property
    def _sandbox(self) -> tuple[sandbox.Sandbox | None, str]:
        """Kept, but for one that cannot be used: a person may mend it meanwhile."""
        # The state directory must exist to be hidden.
        self._runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        return sandbox.find(self._settings)

    def _sandboxed(self, spool: Spool, spec: RunSpec) -> list[str]:
        """The sandbox's command line, or none where there is no sandbox.

        Raises:
            CannotSubmit: a mount that is not offered, or cannot be protected.
            Misconfigured: see ``sandbox.find``.
        """
        local = self._settings.section(LocalSettings)
        for mount in spec.mounts:
            folder = local.mounts.get(mount)
            if folder is None:
                raise CannotSubmit(
                    f"the mount {mount} is not offered",
                    verdict=Verdict.UNPLACEABLE,
                    remedy=f"Set its directory in [local.mounts] {mount}.",
                )
            if not os.path.isdir(folder):  # noqa: PTH112 - False too where we may not look
                raise CannotSubmit(
                    f"the directory {folder} of the mount {mount} does not exist or is not "
                    "accessible",
                    verdict=Verdict.UNPLACEABLE,
                    remedy=f"Create it, or set another in [local.mounts] {mount}.",
                )
        box, why_not = self._sandbox
        if box is not None:
            return box.command(spool, spec.mounts, agent=spec.formula.kind is FormulaKind.AGENT)
        if spec.mounts and not local.allow_unprotected_mounts:
            raise CannotSubmit(
                f"mounts cannot be protected: {why_not}",
                verdict=Verdict.UNPLACEABLE,
                remedy="Install bubblewrap, or set [local] allow_unprotected_mounts = true.",
            )
        return []

    def _link_mounts(self, spool: Spool, spec: RunSpec) -> None:
        for mount in spec.mounts:
            link = spool.home / mount.place
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self._settings.section(LocalSettings).mounts[mount].absolute())

    # While it runs

    def _lifetime(self, timeout_s: float) -> float:
        return timeout_s + self._settings.section(LocalSettings).kill_grace_s + SLACK_S

    def _watch_over(
        self,
        known: _Known,
        pid: int,
        seconds: float,
        ended: Callable[[bool], None],
        *,
        record: ProcessRecord | None = None,
    ) -> None:
        """Watch a runner, unless descriptors are short or it is out of our sight; then only
        looking tells of its end.

        Args:
            record: what it said of itself; None for a child, whose number is its own for as long
                as nobody waits for it.
        """
        with suppress(OSError):
            pidfd = os.pidfd_open(pid) if record is None else open_runner(known.spool, record)
            if pidfd is None:
                return
            known.watched = True
            deadline = time.monotonic() + seconds
            self._monitor.add(pidfd, Watched(pid=pid, deadline=deadline, ended=ended))

    def _look(self, claim: Claim) -> Observation | None:
        """What the run's folder says; a living runner is watched from here on."""
        spool = Spool(self._runs, claim.key, outcome_key=claim.outcome_key)
        if spool.token in self._submitting:
            return self._running(spool, time.time())
        if spool.alive():
            return self._adopt(spool, claim)
        return self._settle(spool, overdue=False)

    def _adopt(self, spool: Spool, claim: Claim) -> Observation:
        runner = spool.runner()
        if runner is None:
            return self._running(spool, time.time())
        record, since = runner
        with self._turn:
            known = self._known.setdefault(spool.token, _Known(spool, self._running(spool, since)))
            if not known.watched and known.seen.state is RunState.RUNNING:
                lifetime = self._lifetime(claim.timeout_s) - record.age()

                def ended(overdue: bool) -> None:  # noqa: FBT001
                    self._ended(known, overdue=overdue, code=None)

                left = max(0.0, lifetime)
                self._watch_over(known, record.pid, left, ended, record=record)
        return known.seen

    def _running(self, spool: Spool, since: float) -> Observation:
        return Observation(
            state=RunState.RUNNING, engine_id=spool.token, engine=self._engine(spool), since=since
        )

    def _engine(self, spool: Spool) -> Engine:
        return Engine(kind="local", alloc=spool.token, node=self._node)

    # After its end

    def _ended(self, known: _Known, *, overdue: bool, code: int | None) -> None:
        """A watched runner is gone; in the watching thread."""
        try:
            seen = self._settle(known.spool, overdue=overdue, code=code)
            with self._turn:
                if seen is None:
                    self._known.pop(known.spool.token, None)
                elif known.seen.state is not RunState.ENDED:
                    known.seen = seen
        finally:
            known.watched = False
            self._wake()

    def _settle(
        self, spool: Spool, *, overdue: bool, code: int | None = None
    ) -> Observation | None:
        """What became of a run that no runner works on; None if it never began.

        No runner can be started meanwhile. Where one holds the lock, the run is alive after all,
        unless we waited for the runner: then a process that is being started has a copy of it.

        Args:
            overdue: its runner hung and was killed.
            code: exit code of the runner where it was our child.
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
        seen = Observation(
            state=RunState.ENDED,
            engine_id=spool.token,
            engine=self._engine(spool),
            outcome=outcome,
            since=outcome.finished_at,
        )
        with self._turn:
            self._known.setdefault(spool.token, _Known(spool, seen)).seen = seen
        return seen


def _hold(spool: Spool) -> int | None:
    """The lock for a new runner, or None if one lives; whoever settles the last is awaited."""
    for _ in range(_HOLD_TRIES):
        lock = spool.hold()
        if lock is not None or spool.alive():
            return lock
        time.sleep(_HOLD_PAUSE_S)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(spool.path))
