"""A provider as every provisioner sees it: errors that say what they prove.

::

    ProviderRefused   it understood and did nothing: trying again cannot help
    ProviderBusy      it did nothing yet: rate limit, or no connection; try again later
    ProviderUnclear   it is unknown whether it did it: look for it by its tag or name
"""

from __future__ import annotations

from typing import Protocol

from dispatcher.errors import Exit, PermanentError, TemporaryError


class ProviderRefused(PermanentError):
    """The request was understood and rejected."""

    exit_code = Exit.NOPERM


class ProviderBusy(TemporaryError):
    """Nothing was done, and later it may be.

    Attributes:
        retry_after_s: seconds that the provider wants us to wait; None if it does not say.
    """

    exit_code = Exit.UNAVAILABLE

    def __init__(
        self, what: str, *, retry_after_s: float | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(what, remedy=remedy)
        self.retry_after_s = retry_after_s


class ProviderUnclear(TemporaryError):
    """No usable answer: the request may have been carried out."""

    exit_code = Exit.UNAVAILABLE


class Provider(Protocol):
    """What pacing needs to know of a provider."""

    @property
    def requests_left(self) -> float | None:
        """Share of the allowed requests that is left, 0 to 1; None if it does not say."""
