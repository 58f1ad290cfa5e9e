"""The service behind ``disinto serve``: takes the lead, and starts a new term after each failure.

A term that failed, or lost the lead, is followed by a fresh one that reads all state again.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dispatcher.errors import Dependency, PermanentError, TemporaryError
from dispatcher.ledger.base import Lease
from dispatcher.loop.components import Components
from dispatcher.loop.control import ControlLoop
from dispatcher.loop.effects.acting import LeadLost
from dispatcher.loop.leader import CopiedLedger
from dispatcher.loop.view import View
from dispatcher.model.health import Outage
from dispatcher.status.tracker import Tracker, waiting_status

LONGEST_PAUSE_S = 30.0
GIT_GRACE_S = 3.0
"""Seconds in which git may finish its calls to the remote once the service is to stop."""

LOOK_EVERY_S = 0.5


class Stopped(Exception):
    """The service was asked to stop while it waited."""


class Service:
    """Runs the control loop, term after term, until it is stopped.

    Args:
        components: the adapters.
        view: makes a fresh view of the ops repo.
        tracker: receives its status and events.
    """

    def __init__(
        self, components: Components, *, view: Callable[[], View], tracker: Tracker
    ) -> None:
        self._components = components
        self._make_view = view
        self._tracker = tracker
        self._control_loop: ControlLoop | None = None
        self._stopping = threading.Event()
        self._holder = ""
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def run(self, *, once: bool = False) -> None:
        """Serve until ``stop``; with ``once`` until nothing is left to do.

        Raises:
            DisintoError: a permanent failure before anything could be done, or any with ``once``.
                A dispatcher that has worked keeps retrying, because its runs need a leader.
        """
        try:
            with self.stops_git():
                self._run(once=once)
        finally:
            self._components.repo.stop()  # a fetch that hangs would keep the process from ending

    def _run(self, *, once: bool) -> None:
        failures, ever_worked = 0, False
        while not self._stopping.is_set():
            control_loop: ControlLoop | None = None
            try:
                with self._components.ledger.leader(name=self.name, waiting=self._wait) as lease:
                    self._holder = ""
                    self._tracker.event("leading", name=self.name)
                    control_loop = self._control_loop = ControlLoop(
                        self._components,
                        self._make_view(),
                        lease,
                        tracker=self._tracker,
                        name=self.name,
                        once=once,
                    )
                    self._until_no_copy(lease, once=once)
                    if not self._stopping.is_set():
                        control_loop.serve()
            except Stopped:
                return
            except LeadLost:
                self._tracker.event("lead_lost", name=self.name)
            except (TemporaryError, PermanentError) as error:
                worked = control_loop is not None and control_loop.worked
                ever_worked = ever_worked or worked
                if once or (isinstance(error, PermanentError) and not ever_worked):
                    raise
                failures = 1 if worked else failures + 1
                self._tracker.event("trouble", error=error)
                self._stopping.wait(min(LONGEST_PAUSE_S, 2.0 ** min(failures, 10)))
            except Exception as error:
                ever_worked = ever_worked or (control_loop is not None and control_loop.worked)
                if once or not ever_worked:
                    raise
                # Unexpected, and no single action is to blame: start over from what is written, as
                # after a restart of the process. The pause grows nevertheless.
                failures += 1
                self._tracker.event("defect", where="loop", error=error)
                self._stopping.wait(min(LONGEST_PAUSE_S, 2.0 ** min(failures, 10)))
            else:
                return

    def _until_no_copy(self, lease: Lease, *, once: bool) -> None:
        """Wait while the ledger is a copy that nobody has declared to be the original: its runs must
        not be touched, not even to end them.
        """
        outage: Outage | None = None
        while not self._stopping.is_set():
            try:
                self._components.leadership.check_ledger()
            except CopiedLedger as error:
                if once:
                    raise
                if outage is None:
                    self._tracker.event("down", dependency=Dependency.LEAD, error=error)
                    outage = Outage(since=time.time(), error=str(error), tries=1, again_at=0.0)
            else:
                return
            self._tracker.status(waiting_status(self.name, {Dependency.LEAD: outage}))
            self._stopping.wait(LOOK_EVERY_S)
            if not lease.held():
                raise LeadLost("this dispatcher is no longer the leader")

    @property
    def stopping(self) -> bool:
        """Whether the service was asked to stop."""
        return self._stopping.is_set()

    @contextmanager
    def stops_git(self) -> Iterator[None]:
        """Within it, ``stop`` kills git's calls to a remote that does not answer, after a grace
        period. ``stop`` itself does not, because a signal handler must not wait.
        """
        over = threading.Event()

        def stop_when_asked() -> None:
            while not self._stopping.wait(LOOK_EVERY_S):
                if over.is_set():
                    return
            if not over.wait(GIT_GRACE_S):
                self._components.repo.stop()

        threading.Thread(target=stop_when_asked, name="git-stopper", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def stop(self) -> None:
        """Request the end; returns at once. Safe in a signal handler."""
        self._stopping.set()
        if self._control_loop is not None:
            self._control_loop.stop()

    def look_now(self) -> None:
        """Poll at once, as a webhook or a person requested."""
        if self._control_loop is not None:
            self._control_loop.look_now()

    def branch_moved(self, head: str = "") -> None:
        """Poll at once, as a webhook reported a push.

        Args:
            head: commit (hex) at which the branch is said to be; see ``FetchPoll.hurry``.
        """
        if self._control_loop is not None:
            self._control_loop.branch_moved(head)

    def request_merged(self, number: int, commit: str) -> None:
        """Ask about a pull request whose merge a webhook reported, while the branch is fetched."""
        if self._control_loop is not None:
            self._control_loop.request_merged(number, commit)

    def reload(self) -> None:
        """Read the rules' files at once. Safe in a signal handler. A service that does not lead yet
        reads them when it does.
        """
        if self._control_loop is not None:
            self._control_loop.reload()

    def _wait(self, holder: str) -> None:
        if self._stopping.is_set():
            raise Stopped
        if holder != self._holder:  # a ledger calls at every try
            self._holder = holder
            self._tracker.event("waiting_for_lead", holder=holder)
