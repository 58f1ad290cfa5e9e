"""The seam: what a sink does, and how it fails."""

from __future__ import annotations

from typing import Protocol

from dispatcher.errors import PermanentError, TemporaryError
from dispatcher.model.notice import Notice


class SinkUnavailable(TemporaryError):
    """A sink cannot be reached, or takes nothing now; the message is sent again later.

    Attributes:
        retry_after_s: how long the server asked to be left alone, in seconds; 0.0 if it did not.
    """

    def __init__(self, what: str, *, remedy: str | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(what, remedy=remedy)
        self.retry_after_s = retry_after_s


class MessageRefused(PermanentError):
    """A sink's server understood this message and does not take it; another one it may."""


class Sink(Protocol):
    """Where notices go. Used by one thread. No text of an error holds a secret."""

    def send(self, notice: Notice) -> str:
        """Send one; repeated with the same notice where it is not known whether it arrived.

        Returns:
            A warning about what was sent only in part, or "".

        Raises:
            SinkUnavailable, MessageRefused: see there.
            Misconfigured: a secret, template or certificate cannot be used.
        """
        ...
