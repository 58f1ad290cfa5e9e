"""The interface of sinks, and their errors."""

from __future__ import annotations

from typing import Protocol

from dispatcher.errors import PermanentError, TemporaryError
from dispatcher.model.notice import Notice


class SinkUnavailable(TemporaryError):
    """A sink cannot be reached, or accepts nothing now; the message is retried later.

    Attributes:
        retry_after_s: back-off that the server requested, in seconds; 0.0 if none.
    """

    def __init__(self, what: str, *, remedy: str | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(what, remedy=remedy)
        self.retry_after_s = retry_after_s


class MessageRefused(PermanentError):
    """A sink's server rejected this message; it may accept another."""


class Sink(Protocol):
    """A target of notices. Used by one thread. No error text contains a secret."""

    def send(self, notice: Notice) -> str:
        """Send one; repeated with the same notice if it is unknown whether it arrived.

        Returns:
            A warning about a message that was sent only in part, or "".

        Raises:
            SinkUnavailable, MessageRefused: see there.
            Misconfigured: a secret, template or certificate cannot be used.
        """
        ...
