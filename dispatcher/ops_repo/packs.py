"""Makes packs of a few small objects in memory, as git sends them; the format is gitformat-pack(5)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.ops_repo.loose_objects import hashed

_KINDS = {"commit": 1, "tree": 2, "blob": 3}

_LEVEL = 1


@dataclass(frozen=True, slots=True)
class NewObject:
    """An object that the remote lacks.

    Attributes:
        kind: ``blob``, ``tree`` or ``commit``.
        data: its content.
    """

    kind: str
    data: bytes


def pack(objects: Sequence[NewObject], *, like: str) -> bytes:
    """A pack of these objects, each of them whole and once: git refuses to unpack one twice where it checks
    what it receives.

    Args:
        like: hash of any object of the repository, which tells by which algorithm it names objects.
    """
    once = dict.fromkeys(objects)  # runs may have the same output
    parts = [b"PACK" + (2).to_bytes(4, "big") + len(once).to_bytes(4, "big")]
    for each in once:
        parts += [_header(_KINDS[each.kind], len(each.data)), zlib.compress(each.data, _LEVEL)]
    whole = b"".join(parts)
    return whole + hashed(whole, like=like)


def _header(kind: int, size: int) -> bytes:
    """Kind and size: four bits of the size in the first byte, seven in each further one."""
    octets = [kind << 4 | size & 0xF]
    size >>= 4
    while size:
        octets[-1] |= 0x80
        octets.append(size & 0x7F)
        size >>= 7
    return bytes(octets)
