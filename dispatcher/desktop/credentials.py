"""Credentials of one desktop: derived, never stored. Who may derive them may open the desktop.

Vault answers ``transit/hmac`` over the desktop's run key with ``vault:v<version>:<base64>``; HKDF (RFC
5869) with one label per credential makes the rest of it. The run that creates the desktop and whoever
opens it derive the same. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dispatcher.errors import InvalidValue
from dispatcher.model.derived import split_hmac

VARIABLE = "DESKTOP_HMAC"
"""The derived secret that an action of a desktop names, and the environment variable that it becomes."""

_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789-_+=."
assert len(_ALPHABET) == 64  # noqa: S101 - so that no letter is likelier


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What opens one desktop.

    Attributes:
        vnc_password: eight characters, the maximum of VNC authentication (RFC 6143, 7.2.2); 48 bits.
        guacamole_key: 16 bytes, the shared key of Guacamole's JSON authentication.
        key_version: of the transit key they were derived with; no secret.
    """

    vnc_password: str = field(repr=False)
    guacamole_key: bytes = field(repr=False)
    key_version: int

    @classmethod
    def from_hmac(cls, answer: str) -> Credentials:
        """Derive them from Vault's answer.

        Raises:
            InvalidValue: it is no answer of ``transit/hmac`` with SHA-256.
        """
        try:
            version, secret = split_hmac(answer)
        except ValueError:
            raise InvalidValue(
                f"{VARIABLE} is not an answer of Vault's transit/hmac with SHA-256",
                remedy=f"Name {VARIABLE} in secrets of the action; see docs/desktops.md.",
            ) from None
        drawn = _derived(secret, b"disinto desktop vnc password", 8)
        return cls(
            vnc_password="".join(_ALPHABET[byte % 64] for byte in drawn),
            guacamole_key=_derived(secret, b"disinto desktop guacamole json key", 16),
            key_version=version,
        )

    def values(self) -> tuple[bytes, bytes]:
        """The password and the key, to look for them in what others write."""
        return self.vnc_password.encode(), self.guacamole_key


def _derived(secret: bytes, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label).derive(secret)
