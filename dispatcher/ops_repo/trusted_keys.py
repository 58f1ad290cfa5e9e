"""Checks files of trusted and revoked SSH keys before anything relies on them. Pure.

ssh-keygen skips lines that it cannot read, so a typo silently removes a person's right to approve,
or leaves a revoked key trusted. Here each such line is a problem.

Formats: ssh-keygen(1), ALLOWED SIGNERS and KEY REVOCATION LISTS.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dispatcher.errors import Problem

KRL_MAGIC = b"SSHKRL\n\0"
"""First bytes of a binary revocation list; ssh-keygen reads the rest of it."""

_NAMESPACE = "git"
_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')
_OPTION = re.compile(r'([a-z-]+)(?:="([^"]*)")?(?:,|$)', re.IGNORECASE)
_STAMPS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustedKey:
    """A key that may sign commits now.

    Attributes:
        principals: as the line has them: names, or patterns with ``*`` and ``?``.
        key: in base64.
        authority: whether it is an authority, which certifies keys for others.
    """

    principals: tuple[str, ...]
    key: str
    authority: bool = False

    @property
    def named(self) -> bool:
        """Whether the line itself says who signs with it."""
        return not self.authority and not any(set("*?!") & set(p) for p in self.principals)


@dataclass(frozen=True, kw_only=True, slots=True)
class AllowedSigners:
    """The contents of a file of allowed signers.

    Attributes:
        entries: lines that name a key.
        usable: those whose key may sign commits now.
        keys: these keys.
        problems: lines that name none.
    """

    entries: int
    usable: int
    problems: tuple[Problem, ...]
    keys: tuple[TrustedKey, ...] = ()


def read_allowed_signers(data: bytes, *, path: str, now: datetime) -> AllowedSigners:
    """Read an allowed_signers file.

    Args:
        now: with a time zone; expired keys are not usable.
    """
    entries = usable = 0
    problems: list[Problem] = []
    keys: list[TrustedKey] = []
    for number, fields in _lines(data):
        at = next((n for n in (1, 2) if _is_key(fields, n)), None)
        if at is None:
            problems.append(
                Problem(
                    message="this line contains no key",
                    path=path,
                    line=number,
                    remedy="Write: principal [options] key-type base64-key",
                )
            )
            continue
        entries += 1
        options = fields[1] if at > 1 else ""
        if _usable(options, now):
            usable += 1
            keys.append(
                TrustedKey(
                    principals=tuple(fields[0].strip('"').split(",")),
                    key=fields[at + 1],
                    authority="cert-authority" in options.lower().split(","),
                )
            )
    return AllowedSigners(
        entries=entries, usable=usable, problems=tuple(problems), keys=tuple(keys)
    )


def revoked_in(data: bytes) -> frozenset[str]:
    """The keys of a revocation list (base64); none of a binary one, which ssh-keygen alone reads."""
    if data.startswith(KRL_MAGIC):
        return frozenset()
    return frozenset(fields[1] for _, fields in _lines(data) if _is_key(fields, 0))


def revocation_problems(data: bytes, *, path: str) -> tuple[Problem, ...]:
    """Problems of a revocation list; a binary one is left to ssh-keygen."""
    if data.startswith(KRL_MAGIC):
        return ()
    return tuple(
        Problem(
            message="this line contains no public key",
            path=path,
            line=number,
            remedy="Write one public key per line: key-type base64-key",
        )
        for number, fields in _lines(data)
        if not _is_key(fields, 0)
    )


def _lines(data: bytes) -> Iterator[tuple[int, Sequence[str]]]:
    """Lines that are neither empty nor comments, in words; quotes keep spaces together."""
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield number, _WORD.findall(text)


def _is_key(fields: Sequence[str], at: int) -> bool:
    """Whether a key type and its key are at this position: the key names its own type."""
    if len(fields) <= at + 1:
        return False
    try:
        blob = base64.b64decode(fields[at + 1], validate=True)
    except (binascii.Error, ValueError):
        return False
    length = int.from_bytes(blob[:4], "big")
    return len(blob) > 4 + length and blob[4 : 4 + length] == fields[at].encode()


def _usable(options: str, now: datetime) -> bool:
    values = {name.lower(): value for name, value in _OPTION.findall(options)}
    namespaces = values.get("namespaces")
    if namespaces is not None and not any(
        fnmatch.fnmatchcase(_NAMESPACE, pattern) for pattern in namespaces.split(",")
    ):
        return False
    after, before = _time(values.get("valid-after", "")), _time(values.get("valid-before", ""))
    return (after is None or after <= now) and (before is None or now < before)


def _time(stamp: str) -> datetime | None:
    """A time as ssh-keygen writes it: local, or UTC with ``Z``; None if it is not one."""
    digits = stamp.removesuffix("Z")
    form = _STAMPS.get(len(digits))
    try:
        time = datetime.strptime(digits, form) if form else None
    except ValueError:
        return None
    if time is None:
        return None
    return time.replace(tzinfo=UTC) if stamp.endswith("Z") else time.astimezone()
