"""A VNC client up to the login: RFB 3.8 with VNC authentication (RFC 6143, 7.1 and 7.2.2)."""

from __future__ import annotations

import struct
import subprocess

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

VERSION = b"RFB 003.008\n"
_VNC_AUTHENTICATION = 2


def log_in(connection: subprocess.Popen[bytes], password: str) -> str | None:
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


def _read(connection: subprocess.Popen[bytes], length: int) -> bytes:
    assert connection.stdout is not None
    data = b""
    while len(data) < length:
        part = connection.stdout.read(length - len(data))
        assert part, f"it closed the connection after {data!r}"
        data += part
    return data
