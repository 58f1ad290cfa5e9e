"""Guacamole's JSON authentication: the document that names a person's connections, signed and encrypted.

Format by the manual of Guacamole 1.6 ("Encrypted JSON authentication"): one key of 16 bytes for both; the
HMAC-SHA256 of the JSON before the JSON itself, AES-128 in CBC mode with an IV of zeros, base64. Guacamole
rejects the whole document for one key that it does not know.

``expires`` bounds more than the login: after it the connections are gone, so that a reload or a lost
connection cannot be resumed, though the login lives on. So a document is good for a session, is used once,
and never leaves the process that exchanges it for a session token; what people click is our own link. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

CONNECTION = "desktop"
"""Name of a desktop's one connection, in its document and in addresses."""

DATA_SOURCE = "json"
"""What Guacamole calls the extension whose connections these are."""

VNC_HOST, VNC_PORT = "127.0.0.1", 5901
"""Where guacd finds the VNC server, on the desktop's own machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """One connection of a document.

    Attributes:
        protocol: ``vnc``.
        parameters: as Guacamole's manual names them. Kept out of ``repr``: one is the password.
    """

    protocol: str
    parameters: Mapping[str, str] = field(repr=False)


def vnc(password: str, *, host: str = VNC_HOST, port: int = VNC_PORT) -> Connection:
    """A connection to a VNC server, as guacd reaches it."""
    return Connection(
        protocol="vnc",
        parameters={"hostname": host, "port": str(port), "password": password},
    )


def document(
    username: str,
    connections: Mapping[str, Connection],
    *,
    expires_s: float,
    single_use: bool = True,
) -> bytes:
    """The JSON of a document.

    Args:
        username: what Guacamole shows and logs; "" would be an anonymous login, which keeps no session
            across a reload.
        expires_s: seconds since the epoch after which neither login nor reconnection is possible.
        single_use: whether a second login with it fails.

    Raises:
        ValueError: there is no username.
    """
    if not username:
        raise ValueError("a document without a username is an anonymous login")
    plain: dict[str, object] = {"username": username, "expires": round(expires_s * 1000)}
    if single_use:
        plain["singleUse"] = True
    plain["connections"] = {
        name: {"protocol": each.protocol, "parameters": dict(each.parameters)}
        for name, each in connections.items()
    }
    return json.dumps(plain, separators=(",", ":")).encode()


def seal(plain: bytes, key: bytes) -> str:
    """Sign and encrypt a document: the value of ``data`` in a login.

    Args:
        plain: the JSON.
        key: 16 bytes.
    """
    signed = hmac.digest(key, plain, hashlib.sha256) + plain
    padder = PKCS7(algorithms.AES128.block_size).padder()
    encryptor = _cipher(key).encryptor()
    sealed = encryptor.update(padder.update(signed) + padder.finalize()) + encryptor.finalize()
    return base64.b64encode(sealed).decode()


def unseal(data: str, key: bytes) -> bytes:
    """The JSON of a sealed document, as Guacamole reads it.

    Raises:
        ValueError: it is not base64, was sealed with another key, or was changed.
    """
    decryptor = _cipher(key).decryptor()
    unpadder = PKCS7(algorithms.AES128.block_size).unpadder()
    padded = decryptor.update(base64.b64decode(data, validate=True)) + decryptor.finalize()
    signed = unpadder.update(padded) + unpadder.finalize()
    signature, plain = signed[:32], signed[32:]
    if not hmac.compare_digest(signature, hmac.digest(key, plain, hashlib.sha256)):
        raise ValueError("the signature is wrong")
    return plain


def stream_url(base: str, token: str, *, connection: str = CONNECTION) -> str:
    """The address that opens a connection in a browser.

    The session token is in the fragment, which browsers send to no server.

    Args:
        base: of the web application, such as ``https://198.51.100.7/guacamole/``.
        token: of the session.
    """
    name = f"{connection}\0c\0{DATA_SOURCE}".encode()
    identifier = base64.urlsafe_b64encode(name).decode().rstrip("=")
    return f"{base.rstrip('/')}/#/client/{identifier}?token={quote(token, safe='')}"


def _cipher(key: bytes) -> Cipher[modes.CBC]:
    """AES-128; the IV of zeros is Guacamole's format, and the signature before the JSON makes the first
    block different for each document."""
    return Cipher(algorithms.AES128(key), modes.CBC(bytes(16)))
