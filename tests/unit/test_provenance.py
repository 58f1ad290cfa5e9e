"""Whether the bytes of a result are ours."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dispatcher.attestation import SignatureVerifier, key_id, seal_with
from dispatcher.attestation.provenance import REFRESH_S
from dispatcher.errors import Dependency, Unavailable
from dispatcher.model.result import Result
from dispatcher.model.run import Tier
from dispatcher.model.verdicts import Verdict

BLOB = "b" * 40
KEY = Ed25519PrivateKey.generate()


class Signer:
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, data: bytes) -> tuple[str, bytes]:
        return key_id(self._key.public_key()), self._key.sign(data)


def signed(key: Ed25519PrivateKey = KEY, **changes: object) -> bytes:
    facts = {"id": "x", "exit_code": 0, "timestamp": "t", "verdict": Verdict.SUCCEEDED}
    result = Result.model_validate({**facts, "blob": BLOB, **changes})
    return seal_with(Signer(key), result.to_json()).encode()


@pytest.fixture
def verifier() -> SignatureVerifier:
    return SignatureVerifier(lambda: [KEY.public_key()])


def test_ours_is_what_we_signed_for_this_id_and_blob(verifier: SignatureVerifier) -> None:
    assert verifier.ours(signed(), action_id="x", blob=BLOB)
    assert verifier.ours(signed(), action_id="x", blob=None)
    assert not verifier.ours(signed(), action_id="y", blob=BLOB)
    assert not verifier.ours(signed(), action_id="x", blob="c" * 40)


def test_who_approved_or_not_does_not_change_who_signed(verifier: SignatureVerifier) -> None:
    assert verifier.ours(signed(tier=Tier.HIGH), action_id="x", blob=BLOB)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff",
        signed(Ed25519PrivateKey.generate()),
        signed() + b"\n",
        signed().replace(b'"succeeded"', b'"failed"', 1),
        json.dumps(json.loads(signed())).encode(),
        signed().replace(b'"logs": ""', b'"logs": "x"', 1),
    ],
)
def test_every_other_byte_is_not(verifier: SignatureVerifier, data: bytes) -> None:
    for blob in (BLOB, None):
        assert not verifier.ours(data, action_id="x", blob=blob)


def test_a_new_key_is_asked_for_once_in_a_while() -> None:
    other = Ed25519PrivateKey.generate()
    keys: list[Ed25519PublicKey] = [KEY.public_key()]
    asked, now = 0, 0.0

    def ask() -> Sequence[Ed25519PublicKey]:
        nonlocal asked
        asked += 1
        return list(keys)

    verifier = SignatureVerifier(ask, clock=lambda: now)
    for _ in range(5):
        assert not verifier.ours(signed(other), action_id="x", blob=BLOB)
    assert asked == 1, "made-up results do not make us ask at each"
    keys.append(other.public_key())
    now += REFRESH_S
    assert verifier.ours(signed(other), action_id="x", blob=BLOB)
    assert asked == 2


def test_without_a_key_nothing_is_proven() -> None:
    verifier = SignatureVerifier(list)
    assert not verifier.can_prove()
    assert not verifier.ours(signed(), action_id="x", blob=BLOB)


def test_a_vault_that_is_away_is_no_answer() -> None:
    def ask() -> Sequence[Ed25519PublicKey]:
        raise Unavailable(Dependency.VAULT, "sealed")

    with pytest.raises(Unavailable):
        SignatureVerifier(ask).ours(signed(), action_id="x", blob=BLOB)
