"""Credentials of one desktop: derived, never stored. Who may derive them may open the desktop.

Vault answers ``transit/hmac`` over the desktop's id and run key with ``vault:v<version>:<base64>``;
HKDF (RFC 5869) with one label per credential makes the rest of it.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dispatcher.errors import InvalidValue

VARIABLE = "DESKTOP_HMAC"
"""The environment variable that holds Vault's answer; the name of a secret."""

_ANSWER = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]{43}=)", re.ASCII)
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789-_+=.@"
assert len(_ALPHABET) >= 64  # noqa: S101 - the first 64 are used, so that no letter is likelier


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What opens one desktop.

    Attributes:
        vnc_password: eight characters, the maximum of VNC authentication (RFC 6143, 7.2.2).
        guacamole_key: 16 bytes, the shared key of Guacamole's JSON authentication.
        key_version: of the transit key they were derived with.
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
        parts = _ANSWER.fullmatch(answer)
        try:
            secret = base64.b64decode(parts[2], validate=True) if parts else b""
        except binascii.Error:
            secret = b""
        if parts is None or not secret:
            raise InvalidValue(
                f"{VARIABLE} is not an answer of Vault's transit/hmac with SHA-256",
                remedy="See docs/desktops.md for the dynamic secret that fetches it.",
            )
        drawn = _derived(secret, b"disinto desktop vnc password", 8)
        return cls(
            vnc_password="".join(_ALPHABET[byte % 64] for byte in drawn),
            guacamole_key=_derived(secret, b"disinto desktop guacamole json key", 16),
            key_version=int(parts[1]),
        )


def _derived(secret: bytes, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label).derive(secret)
