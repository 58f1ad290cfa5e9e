"""A result that is signed, and ways to change it."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatcher.attestation import (
    PAYLOAD_TYPE,
    Verification,
    git_blob,
    key_id,
    pae,
    seal_with,
    verify_result,
)
from dispatcher.model.result import Result, ResultEngine, ResultFormula
from dispatcher.model.run import Tier
from dispatcher.model.verdicts import Verdict

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


ACTION = b'id = "deploy"\nformula = "hello"\ncontext = ""\nsecrets = []\n'


RESULT = Result(
    id="deploy",
    exit_code=3,
    timestamp="2024-02-29T12:00:00.000Z",
    logs='a line\n"quoted", ünicode \u2028 and \\ back\n',
    verdict=Verdict.FAILED,
    started_at="2024-02-29T11:59:00.000Z",
    finished_at="2024-02-29T11:59:59.500Z",
    duration_s=59.5,
    approved_by=("alice",),
    tier=Tier.HIGH,
    commit="c" * 40,
    blob=git_blob(ACTION),
    formula=ResultFormula(name="hello", sha256="f" * 64),
    engine=ResultEngine(kind="nomad", job="runner/dispatch-1", alloc="a1", node="n1"),
    outputs={"address": "192.0.2.1", "nested": {"attestation": {"payload": 1e16}}},
)


class KeySigner:
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, data: bytes) -> tuple[str, bytes]:
        return key_id(self._key.public_key()), self._key.sign(data)


def seal(result: Result = RESULT, key: Ed25519PrivateKey = KEY) -> bytes:
    text = seal_with(KeySigner(key), result.to_json(), policies=["runner-db"])
    return text.encode()


def verify(data: bytes, **changed: Any) -> Verification:
    given: dict[str, Any] = {
        "action_id": "deploy",
        "action": ACTION,
        "public_keys": [KEY.public_key()],
    }
    return verify_result(data, **(given | changed))


def told(data: bytes, **changed: Any) -> list[tuple[str, str]]:
    verification = verify(data, **changed)
    assert not verification.verified
    return [(finding.kind.value, finding.message) for finding in verification.findings]


def resigned(change: dict[str, Any], *, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The sealed file with another statement, signed by the right key."""
    file = json.loads(seal())
    statement = json.loads(base64.b64decode(file["attestation"]["payload"])) | change
    payload = json.dumps(statement).encode()
    file["attestation"]["payload"] = base64.b64encode(payload).decode()
    file["attestation"]["payloadType"] = payload_type
    signature = KEY.sign(pae(payload_type, payload))
    file["attestation"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return Result.model_validate(file).to_json().encode()
