"""The whole output of a run that the ops repository keeps, by the digests in its result.

Whoever may push may put anything on the refs of the outputs, and write a file that looks like a
result. So only what has the digest that the result names is shown, and of a result only what this
dispatcher signed, where that can be checked.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

from dispatcher.attestation.verify import Finding, Kind
from dispatcher.engines.base import LogChunk, Stream
from dispatcher.errors import DisintoError, NotFound, PermanentError
from dispatcher.loop.verifying import Verifier
from dispatcher.model.result import KeptStream, Result, ResultOutput
from dispatcher.ops_repo import OpsRepo

PACKED_LIMIT = 96 * 1024 * 1024
"""Maximum bytes that are fetched for one stream: more than the largest ``[output] max_kb``."""

_PIECE = 64 * 1024
_GZIP = 31
"""``wbits`` of zlib for gzip data."""


class OutputDiffers(PermanentError):
    """What the remote has is not what the result names."""


def kept_chunks(repo: OpsRepo, output: ResultOutput) -> Iterator[LogChunk]:
    """Both streams, one after the other, each checked before the first byte of it.

    Raises:
        NotFound: the remote does not have it any more.
        OutputDiffers: it has something else.
        Unavailable, Denied: the remote cannot be reached.
    """
    for name, kept in output.streams():
        offset = 0
        for data in _unpacked(_fetched(repo, kept), kept):
            offset += len(data)
            yield LogChunk(stream=Stream(name), offset=offset, data=data)


def unproven(data: bytes, result: Result, verifier: Verifier) -> str:
    """Why the output that a result names is not shown, in words; "" if we signed the result, or if
    results are not signed here.
    """
    try:
        if not verifier.signs or verifier.ours(data, action_id=result.id, blob=None):
            return ""
    except DisintoError as error:
        return f"its signature cannot be checked: {error.what}"
    return "this dispatcher did not sign the result; see 'disinto verify'"


def check_output(repo: OpsRepo, output: ResultOutput) -> tuple[str, Finding | None]:
    """What became of an output, in words, and the problem if it is not what the result names.

    Raises:
        Unavailable, Denied: the remote cannot be reached.
    """
    if not output.month:
        return f"not kept: {output.missing}", None
    try:
        for _chunk in kept_chunks(repo, output):
            pass
    except OutputDiffers as error:
        return "modified", Finding(kind=Kind.OUTPUT, message=error.what, field="output")
    except NotFound as error:
        return f"no longer kept: {error.what}", None
    return f"verified, on refs/disinto/logs/{output.month}", None


def _fetched(repo: OpsRepo, kept: KeptStream) -> bytes:
    if kept.packed > PACKED_LIMIT:
        raise NotFound(f"the result names an object of {kept.packed:,} bytes, which is not fetched")
    data = repo.outputs.fetch(kept.object, limit=kept.packed)
    if hashlib.sha256(data).hexdigest() != kept.sha256:
        raise OutputDiffers(f"object {kept.object[:12]} does not have the digest in the result")
    return data


def _unpacked(data: bytes, kept: KeptStream) -> Iterator[bytes]:
    """Piece by piece, and no more than the result says that was written."""
    left = kept.bytes + 64  # what says how much was left out
    unpacker = zlib.decompressobj(_GZIP)
    try:
        while data and not unpacker.eof:
            piece = unpacker.decompress(data, _PIECE)
            left -= len(piece)
            if left < 0:
                raise OutputDiffers(f"object {kept.object[:12]} holds more than the result says")
            if piece:
                yield piece
            data = unpacker.unconsumed_tail
    except zlib.error as error:
        raise OutputDiffers(
            f"object {kept.object[:12]} is not compressed output: {error}"
        ) from None
