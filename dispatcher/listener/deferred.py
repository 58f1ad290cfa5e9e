"""The deferred listener: opens at once, or, if another ``serve`` of this machine has the address,
when this process leads.

A second ``serve`` with the same settings waits for the lead, and so for the same address.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from dispatcher.errors import DisintoError
from dispatcher.listener.serving import AddressTaken, Listener


class DeferredListener:
    """A tracker of the service that opens the listener, and a context manager.

    Args:
        make: creates the listener, not yet open.
        give_up: called if the address is still taken when this process leads; ``error`` is set
            before.
    """

    def __init__(self, make: Callable[[], Listener], *, give_up: Callable[[], None]) -> None:
        self._make = make
        self._give_up = give_up
        self._listener: Listener | None = None
        self._wanted = False
        self.error: DisintoError | None = None

    def __enter__(self) -> DeferredListener:
        """Open it, if the address is free.

        Raises:
            Misconfigured: the settings are wrong.
        """
        self._wanted = True
        with contextlib.suppress(AddressTaken):
            self._open()
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.__exit__()

    def status(self, status: object) -> None:
        """Ignore rounds."""

    def event(self, what: str, /, **_facts: object) -> None:
        """Retry as soon as this process leads."""
        if what != "leading" or not self._wanted or self._listener is not None:
            return
        try:
            self._open()
        except DisintoError as error:
            self.error = error
            self._give_up()

    def _open(self) -> None:
        self._listener = self._make().__enter__()
