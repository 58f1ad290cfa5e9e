"""Signing keys of attestations: a file on this machine, or Vault's transit engine."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from dispatcher.errors import Misconfigured

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class Transit(Protocol):
    """The interface to Vault's transit engine; see ``dispatcher.vault``."""

    def transit_sign(self, data: bytes) -> tuple[int, bytes]:
        """Version of the key, and its ed25519 signature."""
        ...

    def transit_public_keys(self) -> Mapping[int, bytes]:
        """The 32 bytes of each version's public key."""
        ...


def key_id(key: Ed25519PublicKey) -> str:
    """The id of a key: SHA-256 (hex) of its SubjectPublicKeyInfo in DER."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def public_pem(key: Ed25519PublicKey) -> bytes:
    """The public key as people keep it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_public_keys(pem: bytes, *, path: str) -> tuple[Ed25519PublicKey, ...]:
    """The public keys of a PEM file, one or several.

    Raises:
        Misconfigured: it holds none, or one that is not ed25519.
    """
    keys = []
    for block in _PEM.findall(pem):
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise Misconfigured(f"{path} contains a public key that is not ed25519")
        keys.append(key)
    if not keys:
        raise Misconfigured(
            f"{path} contains no public key",
            remedy="Pass the dispatcher's attestation.pub, or the transit key in PEM",
        )
    return tuple(keys)


class LocalSigner:
    """Signs with an ed25519 key in a file, which is created at the first use.

    Args:
        path: private key, PKCS #8 PEM, mode 0600. The public key is beside it, ``.pub``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        if not self._path.exists():
            self._make()
        return self._load()

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The public half.

        Raises:
            Misconfigured: the file is no ed25519 key, or others may read it.
        """
        return self._key.public_key()

    def sign(self, data: bytes) -> tuple[str, bytes]:
        """See ``Signer``.

        Raises:
            Misconfigured: the file is no ed25519 key, or others may read it.
        """
        return key_id(self.public_key), self._key.sign(data)

    def _load(self) -> Ed25519PrivateKey:
        try:
            with self._path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                pem = file.read()
        except OSError as error:
            raise Misconfigured(
                f"the signing key {self._path} cannot be read: {error.strerror}"
            ) from error
        if mode & 0o077:
            raise Misconfigured(
                f"the signing key {self._path} can be read by others (mode {mode:04o})",
                remedy=f"Run: chmod 600 {self._path}",
            )
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise Misconfigured(
                f"{self._path} contains no ed25519 key without a passphrase",
                remedy="Move it away; the next result creates a new key",
            )
        return key

    def _make(self) -> None:
        """Write a new key; if two processes do so at once, the first one wins."""
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".attestation-", dir=self._path.parent)
        fresh = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(fresh, self._path)
            except FileExistsError:
                return
        finally:
            fresh.unlink()
        self._path.with_suffix(".pub").write_bytes(public_pem(key.public_key()))


def local_signer(path: Path) -> LocalSigner:
    """A signer whose key is the file ``path``; see ``LocalSigner``."""
    return LocalSigner(path)


class TransitSigner:
    """Signs with a key that never leaves Vault."""

    def __init__(self, transit: Transit) -> None:
        self._transit = transit
        self._ids: dict[int, str] = {}

    def sign(self, data: bytes) -> tuple[str, bytes]:
        """See ``Signer``. What the transit adapter raises goes through."""
        version, signature = self._transit.transit_sign(data)
        if version not in self._ids:
            keys = self._transit.transit_public_keys()
            self._ids = {
                number: key_id(Ed25519PublicKey.from_public_bytes(raw))
                for number, raw in keys.items()
            }
        return self._ids[version], signature


def transit_keys(transit: Transit) -> tuple[Ed25519PublicKey, ...]:
    """The public keys of every version. What the transit adapter raises goes through."""
    raw = transit.transit_public_keys().values()
    return tuple(Ed25519PublicKey.from_public_bytes(key) for key in raw)


def transit_signer(transit: Transit) -> TransitSigner:
    """A signer that uses Vault; see ``TransitSigner``."""
    return TransitSigner(transit)
