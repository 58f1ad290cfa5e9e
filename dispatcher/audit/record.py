"""Encodes and parses one line of the audit log, and its hash.

A line is the record's JSON with its own hash as the last key::

    {"seq":7,"time":"2026-03-01T12:00:00.000Z","event":"claimed",…,"prev":"<hash of record 6>","hash":"…"}

``hash`` is the SHA-256 of the line as it was before ``hash`` was put in, so that no other way of
writing the same record fits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.model.times import rfc3339

GENESIS = "0" * 64
"""``prev`` of the first record."""

MAX_TEXT = 8_000
"""Characters of one fact; what is longer is cut."""

OWN_FIELDS = ("seq", "time", "event", "prev", "hash")
"""Names that no fact may have."""

_HASH_KEY = b',"hash":"'
_TAIL = len(_HASH_KEY) + 64 + len(b'"}')


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The fields of a line that the chain needs.

    Attributes:
        seq: from 1.
        prev, hash: as the line states them.
        true_hash: of what the line holds.
    """

    seq: int
    prev: str
    hash: str
    true_hash: str


def encoded(event: str, *, time: float, facts: Mapping[str, object]) -> bytes:
    """What a record says, without its place in the chain. Empty facts are left out."""
    content: dict[str, object] = {"time": rfc3339(time), "event": event}
    for name, value in facts.items():
        if value not in ("", None, ()) and name not in OWN_FIELDS:
            content[name] = value[:MAX_TEXT] if isinstance(value, str) else value
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode(errors="backslashreplace")


def line_of(content: bytes, *, seq: int, prev: str) -> tuple[bytes, str]:
    """The line of what ``encoded`` returned, with its end, and its hash."""
    body = b'{"seq":%d,%b,"prev":"%b"}' % (seq, content[1:-1], prev.encode())
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + _HASH_KEY + digest.encode() + b'"}\n', digest


def record_of(line: bytes) -> Record | None:
    """Parse a line; None if it is not a record."""
    if not line[-_TAIL:].startswith(_HASH_KEY) or not line.endswith(b'"}'):
        return None
    body = line[:-_TAIL] + b"}"
    try:
        record = json.loads(line)
        return Record(
            seq=int(record["seq"]),
            prev=str(record["prev"]),
            hash=str(record["hash"]),
            true_hash=hashlib.sha256(body).hexdigest(),
        )
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
