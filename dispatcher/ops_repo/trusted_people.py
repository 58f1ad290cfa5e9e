"""Who can approve with gate ``signed``, by the lists of keys. For messages and for ``doctor``: what
counts is decided by each signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dispatcher.ops_repo.signatures import Signers
from dispatcher.ops_repo.trusted_keys import read_allowed_signers, revoked_in


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustedPeople:
    """Principals whose keys are trusted now.

    Attributes:
        names: as results record approvals: principals, and ``gpg:<fingerprint>``.
        keys: the keys of each principal of allowed_signers (base64).
        open_ended: whether there may be others: patterns, and authorities that certify keys.
    """

    names: tuple[str, ...]
    keys: dict[str, frozenset[str]]
    open_ended: bool


def trusted_people(signers: Signers) -> TrustedPeople:
    """Read the lists. A file that is missing or cannot be read names nobody."""
    allowed = read_allowed_signers(
        _content(signers.allowed_signers), path="", now=datetime.now(UTC)
    ).keys
    revoked = revoked_in(_content(signers.revoked_keys))
    keys: dict[str, frozenset[str]] = {}
    valid = [each for each in allowed if each.key not in revoked]
    for each in valid:
        if each.named:
            # ssh-keygen names the first principal of a line, which is the one that is recorded
            name = each.principals[0]
            keys[name] = keys.get(name, frozenset()) | {each.key}
    gpg = tuple(f"gpg:{f.replace(' ', '').upper()}" for f in signers.gpg_fingerprints)
    return TrustedPeople(
        names=(*keys, *gpg), keys=keys, open_ended=any(not each.named for each in valid)
    )


def _content(path: Path | None) -> bytes:
    try:
        return path.expanduser().read_bytes() if path is not None else b""
    except OSError:
        return b""
