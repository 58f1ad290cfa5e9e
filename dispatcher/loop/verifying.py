"""The check whether a result in git is ours."""

from __future__ import annotations

from typing import Protocol


class Verifier(Protocol):
    """Distinguishes our results from others: anybody may have written what is read from git."""

    @property
    def signs(self) -> bool:
        """Whether results are signed at all."""
        ...

    def can_prove(self) -> bool:
        """False if results are not signed, or no key was ever made: then no file can be proven to
        be ours, and none can be proven foreign. Raises what ``ours`` raises.
        """
        ...

    def keys_digest(self) -> str:
        """Of the keys that ``ours`` goes by, in hex, so that what was verified need not be verified
        again; "" if there are none. Raises what ``ours`` raises.
        """
        ...

    def ours(self, data: bytes, *, action_id: str, blob: str | None) -> bool:
        """Whether we signed exactly these bytes as the result of this action.

        Args:
            data: the bytes of a result file.
            action_id: the id.
            blob: git blob hash (hex) of the action; None for any.

        Raises:
            Unavailable, Denied: Vault has the key and cannot be reached.
            Misconfigured: the key cannot be used.
        """
        ...


class Unsigned:
    """The verifier of a dispatcher that does not sign: no file is proven to be ours."""

    @property
    def signs(self) -> bool:
        """False."""
        return False

    def can_prove(self) -> bool:
        """False."""
        return False

    def keys_digest(self) -> str:
        """ "" for no keys."""
        return ""

    def ours(self, data: bytes, *, action_id: str, blob: str | None) -> bool:  # noqa: ARG002
        """Never."""
        return False
