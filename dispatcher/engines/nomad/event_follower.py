"""Follows Nomad's events about our runs, and has them observed when one says something of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dispatcher.engines.log import LazyLogger
from dispatcher.engines.nomad.api import Event, EventStream, NomadApi
from dispatcher.engines.nomad.observing import Observer
from dispatcher.engines.nomad.run_events import (
    child_of,
    ended_allocation,
    only_follows,
    open_allocation,
)
from dispatcher.errors import PermanentError


class EventFollower:
    """A thread that passes on what events say of our runs.

    Args:
        prefix: of the names of our parent jobs.
        wake: called after a gap in the stream, in which anything may have been said.
    """

    def __init__(
        self, api: NomadApi, observer: Observer, *, prefix: str, wake: Callable[[], None]
    ) -> None:
        self._api, self._observer = api, observer
        self._prefix, self._wake = prefix, wake
        self._stream: EventStream | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._log = LazyLogger("disinto.nomad")

    @property
    def connected(self) -> bool:
        """Whether Nomad is known to be connected."""
        return self._stream is not None and self._stream.connected

    def start(self) -> None:
        """Begin to follow, once."""
        with self._lock:
            if self._stream is not None:
                return
            self._stream = stream = self._api.events(["Allocation", "Job"])
        threading.Thread(
            target=self._follow, args=(stream,), name="disinto-nomad-events", daemon=True
        ).start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._stream is not None:
            self._stream.close()

    def _follow(self, stream: EventStream) -> None:
        try:
            for item in stream:
                if self._closed.is_set():
                    return
                if not isinstance(item, Event) or not self._passed_on(item):
                    self._observer.doubt()
                    self._wake()
        except PermanentError as error:
            self._log.warning("no_event_stream", error=str(error))

    def _passed_on(self, event: Event) -> bool:
        """Whether an event was passed on; a defect ends following no more than it ends a run."""
        try:
            self._pass_on(event)
        except Exception as error:  # noqa: BLE001 - whatever it says, the next may be about another run
            self._log.error("defect", where="following Nomad's events", exc_info=error)
            return False
        return True

    def _pass_on(self, event: Event) -> None:
        child = child_of(event, self._prefix)
        if not child:
            return
        if (ended := ended_allocation(event)) is not None:
            self._observer.allocation_ended(ended)
        elif (placed := open_allocation(event)) is not None:
            self._observer.allocation_placed(placed)
        elif not only_follows(event):
            self._observer.changed(child)
