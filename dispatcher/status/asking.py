"""Asks the ``serve`` of a state directory, on its socket ``ask.sock``; see ``questions``.

A command is answered in milliseconds only if the asking is quick too. So this imports little.
"""

from __future__ import annotations

import json
import os
import socket
import struct

TYPE_CHECKING = False  # ``typing`` takes long to load
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NAME = "ask.sock"

STATUS, PLAN, LOGS = "status", "plan", "logs"
"""What can be asked: what these commands print."""

ANSWER_S = 10.0
"""Seconds that a command waits for an answer before it finds out by itself."""


def ask(
    state_dir: str, question: str, about: Mapping[str, object], *, within_s: float = ANSWER_S
) -> Mapping[str, Any] | None:
    """Ask the ``serve`` of this state directory.

    Args:
        question: such as ``STATUS``.
        about: plain data; which, depends on the question.
        within_s: seconds for each step.

    Returns:
        ``origin``, that of its settings as plain data, and ``answer``, a table; None if no ``serve``
        answers, whatever the reason.
    """
    try:
        folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = _asked(folder, json.dumps([question, about]).encode() + b"\n", within_s)
    except (OSError, ValueError):
        return None
    finally:
        os.close(folder)
    if isinstance(data, dict) and all(isinstance(data.get(key), dict) for key in _REPLY):
        return data
    return None


_REPLY = ("origin", "answer")


def _asked(folder: int, question: bytes, within_s: float) -> object:
    with unix_socket() as connection:
        connection.settimeout(within_s)
        connection.connect(address(folder, NAME))
        if peer(connection) != os.fstat(folder).st_uid:
            return None
        connection.sendall(question)
        with connection.makefile("rb") as file:
            return json.loads(file.read())


def unix_socket() -> socket.socket:
    """A socket of the kind that both sides use."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def address(folder: int, name: str) -> str:
    """Of a socket in this directory: the address of a socket may not be longer than 107 bytes, the path
    of a state directory may.

    Args:
        folder: its descriptor.
    """
    return f"/proc/self/fd/{folder}/{name}"


def peer(connection: socket.socket) -> int:
    """The user of the process at the other end."""
    about = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", about)[1])
