"""The packets of git's protocol, version 2: ``git help protocol-common`` and ``protocol-v2``.

Whatever a remote sends is bounded, and anything unexpected is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import IO

LONGEST = 65_520
"""Bytes of a packet, its length included."""

_LENGTH = 4
_DATA, _PROGRESS = 1, 2


class BadPacket(Exception):
    """What arrived is not what the protocol allows here, or is too long."""


class Mark(Enum):
    """A packet without content."""

    FLUSH = b"0000"
    DELIMITER = b"0001"
    RESPONSE_END = b"0002"


def packet(text: str) -> bytes:
    """A line as a packet."""
    data = text.encode() + b"\n"
    return b"%04x" % (len(data) + _LENGTH) + data


def request(command: str, capabilities: Sequence[str], arguments: Sequence[str]) -> bytes:
    """A command with its arguments."""
    return b"".join(
        (
            packet(f"command={command}"),
            *map(packet, capabilities),
            Mark.DELIMITER.value,
            *map(packet, arguments),
            Mark.FLUSH.value,
        )
    )


class Packets:
    """Reads packets.

    Args:
        stream: where they come from.
        limit: bytes that may arrive in all.
    """

    def __init__(self, stream: IO[bytes], *, limit: int) -> None:
        self._stream, self._left = stream, limit

    def next(self) -> bytes | Mark:
        """The next packet's content.

        Raises:
            BadPacket: it is none, or the limit is reached.
        """
        head = self._exactly(_LENGTH)
        try:
            size = int(head, 16)
        except ValueError:
            raise BadPacket("no length") from None
        if size < _LENGTH:
            try:
                return Mark(head)
            except ValueError:
                raise BadPacket("an unknown mark") from None
        if size > LONGEST:
            raise BadPacket("too long")
        return self._exactly(size - _LENGTH)

    def lines(self, end: Mark = Mark.FLUSH) -> Iterator[str]:
        """The lines up to a mark.

        Raises:
            BadPacket: another mark comes first, or a line is no text; see ``next``.
        """
        while (content := self.next()) is not end:
            if isinstance(content, Mark):
                raise BadPacket("an unexpected mark")
            try:
                yield content.decode().removesuffix("\n")
            except UnicodeDecodeError:
                raise BadPacket("no text") from None

    def pack(self) -> Iterator[bytes]:
        """The pieces of a pack, from the side band that has it, up to a flush.

        Raises:
            BadPacket: the remote reports an error; see ``next``.
        """
        while (content := self.next()) is not Mark.FLUSH:
            if isinstance(content, Mark) or not content or content[0] not in (_DATA, _PROGRESS):
                raise BadPacket("no pack")
            if content[0] == _DATA:
                yield content[1:]

    def end(self) -> None:
        """Read the end of a response.

        Raises:
            BadPacket: there is more.
        """
        if self.next() is not Mark.RESPONSE_END:
            raise BadPacket("no end of the response")

    def _exactly(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise BadPacket("more than is read")
        data = self._stream.read(size)
        if len(data) != size:
            raise BadPacket("the end")
        return data
