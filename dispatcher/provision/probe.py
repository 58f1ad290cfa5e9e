"""One look at a server that is not trusted: what it answers is bounded in size and time."""

from __future__ import annotations

import socket
import time


def get(
    connection: socket.socket, host: str, path: str, *, until: float, limit: int
) -> tuple[int, bytes]:
    """Status and body of a GET; status 0 if the answer is no HTTP.

    Args:
        connection: to the server, with TLS or without.
        until: monotonic time at which the whole answer must be here.
        limit: bytes after which reading ends.

    Raises:
        OSError: the connection failed, or it is too late.
    """
    # HTTP/1.0: an answer ends with the connection, and comes in no chunks.
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: disinto\r\n\r\n"
    connection.sendall(request.encode())
    head, _, body = _read(connection, until, limit).partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    known = len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    return (int(words[1][:3]) if known else 0), body


def _read(connection: socket.socket, until: float, limit: int) -> bytes:
    data = bytearray()
    while len(data) <= limit:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(64 * 1024)
        if not part:
            break
        data += part
    return bytes(data)
