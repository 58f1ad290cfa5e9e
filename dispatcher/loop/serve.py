"""Serve: lead, and when the lead is lost or something breaks, start over from what is written.

A term that ended by a failure is followed by a fresh one, which believes nothing of the old.
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
"""Seconds in which git may finish what it asks of the remote, once the service is to stop."""

LOOK_EVERY_S = 0.5


class Stopped(Exception):
    """Somebody asked the service to stop while it waited."""


class Service:
    """The dispatcher, for as long as it is wanted.

    Args:
        components: what it acts through.
        view: makes a fresh view of the ops repo.
        tracker: follows it.
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
            DisintoError: permanent trouble before anything could be done, or any with ``once``.
                A dispatcher that was at work goes on trying: its runs need somebody.
        """
        try:
            with self.stops_git():
                self._run(once=once)
        finally:
            self._components.repo.stop()  # a fetch that hangs would hold up the end of the process

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
                # Nobody expected it, and no single action is to blame: begin anew from what is
                # written, as after a restart of the process. The pause grows all the same.
                failures += 1
                self._tracker.event("defect", where="loop", error=error)
                self._stopping.wait(min(LONGEST_PAUSE_S, 2.0 ** min(failures, 10)))
            else:
                return

    def _until_no_copy(self, lease: Lease, *, once: bool) -> None:
        """Wait as long as the ledger is a copy that nobody has declared to be the original: what it
        says of runs must not be acted upon, not even to end them.
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
        """Whether somebody asked it to end."""
        return self._stopping.is_set()

    @contextmanager
    def stops_git(self) -> Iterator[None]:
        """Within it, ``stop`` ends what git asks of a remote that does not answer, after a grace.
        Not in ``stop`` itself: a signal handler must not wait.
        """
        over = threading.Event()

        def tracker() -> None:
            while not self._stopping.wait(LOOK_EVERY_S):
                if over.is_set():
                    return
            if not over.wait(GIT_GRACE_S):
                self._components.repo.stop()

        threading.Thread(target=tracker, name="git-stopper", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def stop(self) -> None:
        """Ask it to end; returns at once. Safe in a signal handler."""
        self._stopping.set()
        if self._control_loop is not None:
            self._control_loop.stop()

    def look_now(self) -> None:
        """A webhook, or a person, says that there is news."""
        if self._control_loop is not None:
            self._control_loop.look_now()

    def reload(self) -> None:
        """Read the rules' files at once. Safe in a signal handler; whoever does not lead yet reads
        them when it does.
        """
        if self._control_loop is not None:
            self._control_loop.reload()

    def _wait(self, holder: str) -> None:
        if self._stopping.is_set():
            raise Stopped
        if holder != self._holder:  # a ledger calls at every try
            self._holder = holder
            self._tracker.event("waiting_for_lead", holder=holder)
