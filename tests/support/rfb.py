"""A VNC client: login (RFB 3.8, VNC authentication), and one picture (RFC 6143, 7.1, 7.2.2, 7.6.1, 7.7.1)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Protocol

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

VERSION = b"RFB 003.008\n"
_VNC_AUTHENTICATION = 2
# 32 bits per pixel, little-endian: blue, green, red, unused
_PIXEL_FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
_UPDATE, _BELL, _CUT_TEXT = 0, 2, 3


class Connection(Protocol):
    """What is sent, and what is received: the pipes of a process, or a socket's."""

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Socket:
    """A socket as a connection."""

    stdin: IO[bytes]
    stdout: IO[bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What a VNC server shows."""

    width: int
    height: int
    data: bytearray = field(repr=False)

    def pixel(self, x: int, y: int) -> tuple[int, int, int]:
        """Red, green and blue."""
        at = 4 * (y * self.width + x)
        blue, green, red = self.data[at : at + 3]
        return red, green, blue


@contextmanager
def dial(port: int) -> Iterator[Socket]:
    """A connection to a VNC server on this machine's loopback."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        plain.makefile("wb", buffering=0) as stdin,
        plain.makefile("rb") as stdout,
    ):
        yield Socket(stdin=stdin, stdout=stdout)


def picture(connection: Connection, password: str) -> Picture:
    """Log in, and fetch the whole picture, uncompressed."""
    reason = log_in(connection, password)
    assert reason is None, reason
    assert connection.stdin is not None
    connection.stdin.write(b"\x01")  # leave other clients connected
    width, height = struct.unpack(">HH", _read(connection, 4))
    _read(connection, 16)
    (length,) = struct.unpack(">I", _read(connection, 4))
    _read(connection, length)
    connection.stdin.write(b"\x00\x00\x00\x00" + _PIXEL_FORMAT)
    connection.stdin.write(struct.pack(">BxHi", 2, 1, 0))  # raw encoding alone
    connection.stdin.write(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
    whole = Picture(width=width, height=height, data=bytearray(4 * width * height))
    missing = width * height
    while missing > 0:
        missing -= _receive(connection, whole)
    return whole


def _receive(connection: Connection, whole: Picture) -> int:
    """One message of the server; how many pixels it brought."""
    kind = _read(connection, 1)[0]
    if kind == _BELL:
        return 0
    if kind == _CUT_TEXT:
        _read(connection, 3)
        (length,) = struct.unpack(">I", _read(connection, 4))
        _read(connection, length)
        return 0
    assert kind == _UPDATE, f"message {kind}"
    (count,) = struct.unpack(">xH", _read(connection, 3))
    pixels = 0
    for _ in range(count):
        x, y, width, height, encoding = struct.unpack(">HHHHi", _read(connection, 12))
        assert encoding == 0, f"encoding {encoding}"
        for row in range(y, y + height):
            at = 4 * (row * whole.width + x)
            whole.data[at : at + 4 * width] = _read(connection, 4 * width)
        pixels += width * height
    return pixels


def log_in(connection: Connection, password: str) -> str | None:
    """None if the password is accepted, else the server's reason."""
    assert connection.stdin is not None
    banner = _read(connection, 12)
    assert banner == VERSION, banner
    connection.stdin.write(VERSION)
    kinds = _read(connection, _read(connection, 1)[0])
    assert kinds == bytes([_VNC_AUTHENTICATION]), f"it offers {list(kinds)}"
    connection.stdin.write(kinds)
    connection.stdin.write(_answer(_read(connection, 16), password))
    (result,) = struct.unpack(">I", _read(connection, 4))
    if result == 0:
        return None
    (length,) = struct.unpack(">I", _read(connection, 4))
    return _read(connection, length).decode()


def _answer(challenge: bytes, password: str) -> bytes:
    key = password.encode()[:8].ljust(8, b"\0")
    mirrored = bytes(
        int(f"{byte:08b}"[::-1], 2) for byte in key
    )  # VNC counts bits from the other end
    encryptor = Cipher(TripleDES(mirrored * 3), modes.ECB()).encryptor()  # three equal keys are DES
    return encryptor.update(challenge) + encryptor.finalize()


def _read(connection: Connection, length: int) -> bytes:
    assert connection.stdout is not None
    data = b""
    while len(data) < length:
        part = connection.stdout.read(length - len(data))
        assert part, f"it closed the connection after {data!r}"
        data += part
    return data
