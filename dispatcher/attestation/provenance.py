"""Determines by signature whether the bytes of a result are ours.

Anybody may have written what is read from git. Nothing here signs.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatcher.attestation.verify import Kind, Verification, verify_result

REFRESH_S = 60.0
"""Seconds before keys are fetched again because a result names an unknown one: a key may have been
rotated, but pushing made-up results must not cause a fetch for each of them."""

_CONTEXT = frozenset({Kind.FORMULA, Kind.APPROVAL})
"""Findings that are not about who signed."""


class PublicKeys:
    """Our public keys, fetched once, and again at most each ``REFRESH_S``. Thread-safe.

    Args:
        keys: our public keys; empty if none was ever made.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[Ed25519PublicKey]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = keys
        self._clock = clock
        self._turn = threading.Lock()
        self._keys_read: Sequence[Ed25519PublicKey] = ()
        self._read_at: float | None = None

    def any(self) -> Sequence[Ed25519PublicKey]:
        """The keys as last fetched. Raises what fetching them raises."""
        return self._keys(older_than_s=float("inf"))

    def in_turn(self) -> Iterator[Sequence[Ed25519PublicKey]]:
        """The keys as last fetched; then those of now, for what none of the first explains."""
        yield self.any()
        yield self._keys(older_than_s=REFRESH_S)

    def _keys(self, *, older_than_s: float) -> Sequence[Ed25519PublicKey]:
        with self._turn:
            now = self._clock()
            if not self._keys_read or self._read_at is None or now - self._read_at >= older_than_s:
                self._keys_read = self._read()
                self._read_at = now
            return self._keys_read


class SignatureVerifier:
    """Distinguishes our results from others by their signature; see ``dispatcher.loop.verifying.Verifier``.
    Thread-safe.

    Attributes:
        keys: our public keys.

    Args:
        keys: our public keys; empty if none was ever made. Raises what ``ours`` raises.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[Ed25519PublicKey]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = PublicKeys(keys, clock=clock)

    @property
    def signs(self) -> bool:
        """True."""
        return True

    def can_prove(self) -> bool:
        """See ``dispatcher.loop.verifying.Verifier``."""
        return bool(self.keys.any())

    def keys_digest(self) -> str:
        """See ``dispatcher.loop.result_writer.Verifier``."""
        raw = sorted(key.public_bytes_raw() for key in self.keys.any())
        return hashlib.sha256(b"".join(raw)).hexdigest() if raw else ""

    def ours(self, data: bytes, *, action_id: str, blob: str | None) -> bool:
        """See ``dispatcher.loop.verifying.Verifier``."""
        for keys in self.keys.in_turn():
            verification = self._verify(data, action_id, blob, keys)
            if not any(f.kind is Kind.KEY for f in verification.findings):
                foreign = [f for f in verification.findings if f.kind not in _CONTEXT]
                return bool(verification.keyid) and not foreign
        return False

    @staticmethod
    def _verify(
        data: bytes, action_id: str, blob: str | None, keys: Sequence[Ed25519PublicKey]
    ) -> Verification:
        if blob is None:
            verification = verify_result(data, action_id=action_id, action=None, public_keys=keys)
            findings = tuple(f for f in verification.findings if f.kind is not Kind.ACTION)
            return Verification(
                findings=findings, keyid=verification.keyid, predicate=verification.predicate
            )
        return verify_result(
            data, action_id=action_id, action=b"", public_keys=keys, blob_of=lambda _bytes: blob
        )
