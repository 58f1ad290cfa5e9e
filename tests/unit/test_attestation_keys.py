"""Keys that sign: a file of our own, and a key in Vault."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dispatcher.attestation import (
    key_id,
    load_public_keys,
    local_signer,
    public_pem,
    seal_with,
    transit_signer,
)
from dispatcher.errors import Misconfigured
from tests.support.sealed import (
    KEY,
    OTHER_KEY,
    RESULT,
    verify,
)


class TestLocalKey:
    def test_it_is_made_at_the_first_use_for_the_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "state" / "attestation.key"
        signer = local_signer(path)
        assert not path.exists()
        keyid, signature = signer.sign(b"data")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        (public,) = load_public_keys(path.with_suffix(".pub").read_bytes(), path="x")
        public.verify(signature, b"data")
        assert keyid == key_id(public)
        assert sorted(file.name for file in path.parent.iterdir()) == [
            "attestation.key",
            "attestation.pub",
        ]

    def test_it_stays_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "attestation.key"
        assert local_signer(path).sign(b"data") == local_signer(path).sign(b"data")

    def test_the_first_of_two_makers_wins(self, tmp_path: Path) -> None:
        path = tmp_path / "attestation.key"
        late = local_signer(path)
        first = local_signer(path).sign(b"data")
        late._make()
        assert late.sign(b"data") == first
        (public,) = load_public_keys(path.with_suffix(".pub").read_bytes(), path="x")
        assert key_id(public) == first[0]

    def test_one_that_others_may_read_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "attestation.key"
        local_signer(path).sign(b"")
        path.chmod(0o640)
        with pytest.raises(Misconfigured, match=r"mode 0640.*chmod 600"):
            local_signer(path).sign(b"")

    @pytest.mark.parametrize("content", [b"", b"nonsense"])
    def test_a_file_that_is_no_key_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "attestation.key"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(Misconfigured, match="contains no ed25519 key"):
            local_signer(path).sign(b"")

    def test_public_keys_are_read_from_pem(self) -> None:
        both = public_pem(KEY.public_key()) + b"a comment\n" + public_pem(OTHER_KEY.public_key())
        ids = [key_id(key) for key in load_public_keys(both, path="x")]
        assert ids == [key_id(KEY.public_key()), key_id(OTHER_KEY.public_key())]
        with pytest.raises(Misconfigured, match="no public key"):
            load_public_keys(b"", path="x")
        curve = generate_private_key(SECP256R1()).public_key()
        pem = curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(Misconfigured, match="not ed25519"):
            load_public_keys(pem, path="x")


class FakeTransit:
    """Vault's transit engine with a key that was rotated once."""

    keys: Mapping[int, Ed25519PrivateKey] = {1: OTHER_KEY, 2: KEY}
    asked = 0

    def transit_sign(self, data: bytes) -> tuple[int, bytes]:
        return 2, self.keys[2].sign(data)

    def transit_public_keys(self) -> Mapping[int, bytes]:
        self.asked += 1
        return {version: raw(key.public_key()) for version, key in self.keys.items()}


def raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def test_a_transit_key_signs_by_its_version_and_is_asked_for_once() -> None:
    transit = FakeTransit()
    signer = transit_signer(transit)
    for _ in range(3):
        sealed = seal_with(signer, RESULT.to_json(), policies=["runner-db"])
        assert verify(sealed.encode()).verified
    assert transit.asked == 1
