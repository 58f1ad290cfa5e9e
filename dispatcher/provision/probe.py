"""One request to a server that is not trusted: what it answers is bounded in size, and in time as a whole."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
import time
from collections.abc import Mapping

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*(?:\r\n|\Z)", re.IGNORECASE)
_END = b"\r\n\r\n"


class WrongCertificate(Exception):
    """Another certificate than the expected one."""


def pinned(plain: socket.socket, fingerprint: str) -> ssl.SSLSocket:
    """TLS with a server that shows one certificate; no certificate authority is asked.

    Args:
        plain: its timeout bounds the whole handshake.
        fingerprint: SHA-256 of the certificate, hex in lower case.

    Raises:
        OSError: the handshake failed, or took too long.
        WrongCertificate: nothing was sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the fingerprint below is what is verified
    connection = context.wrap_socket(plain)
    certificate = connection.getpeercert(binary_form=True) or b""
    if not hmac.compare_digest(hashlib.sha256(certificate).hexdigest(), fingerprint):
        raise WrongCertificate
    return connection


def get(
    connection: socket.socket, host: str, path: str, *, until: float, limit: int
) -> tuple[int, bytes]:
    """Status and body of a GET; see ``exchange``."""
    headers = {"Host": host}
    return exchange(connection, "GET", path, headers=headers, until=until, limit=limit)


def exchange(
    connection: socket.socket,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    until: float,
    limit: int,
) -> tuple[int, bytes]:
    """Status and body of the answer; status 0 if the answer is no HTTP.

    Args:
        connection: to the server, with TLS or without.
        until: monotonic time at which the whole answer must be here.
        limit: bytes after which reading ends.

    Raises:
        OSError: the connection failed, or it is too late.
    """
    # HTTP/1.0: an answer ends with the connection, and comes in no chunks.
    lines = [f"{method} {path} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items())]
    lines += ["User-Agent: disinto", *([f"Content-Length: {len(body)}"] if body else []), "", ""]
    connection.settimeout(_left(until))
    connection.sendall("\r\n".join(lines).encode() + body)
    head, _, rest = _read(connection, until, limit).partition(_END)
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    known = len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    return (int(words[1][:3]) if known else 0), rest


def _read(connection: socket.socket, until: float, limit: int) -> bytes:
    data = bytearray()
    whole = limit
    while len(data) < whole:
        connection.settimeout(_left(until))
        part = connection.recv(64 * 1024)
        if not part:
            break
        before = max(0, len(data) - len(_END))
        data += part
        if whole == limit and (end := data.find(_END, before)) >= 0:
            length = _LENGTH.search(data, 0, end)
            whole = min(limit, end + len(_END) + int(length[1])) if length else limit
    return bytes(data)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
