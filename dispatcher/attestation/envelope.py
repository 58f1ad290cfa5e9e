"""Signs a result: the statement about it, and the envelope around the statement.

A result carries a DSSE envelope (spec 1.0.2) around an in-toto Statement v1 under its last key,
``attestation``. The statement's subject is the result's file without that key, exactly as
``Result.to_json`` writes it, so the signature covers every byte of it. The predicate repeats the
fields, so that the statement alone describes the run, and so that a change can be reported with the
name of the field.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from dispatcher.model.paths import result_name
from dispatcher.model.result import Envelope, Result, Signature, parse_result

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:disinto:run:v1"

DIGESTED = ("logs", "error", "outputs")
"""Fields that the predicate names by digest alone, since they can be long."""


class Signer(Protocol):
    """Signs with one key."""

    def sign(self, data: bytes) -> tuple[str, bytes]:
        """The key's id (see ``key_id``) and the ed25519 signature over ``data``."""
        ...


def seal_with(signer: Signer, text: str, *, policies: Sequence[str] = ()) -> str:
    """A result's text with its attestation; a result that has one is returned unchanged.

    Args:
        text: what ``Result.to_json`` wrote.
        policies: of the run's grant.
    """
    result = parse_result(text)
    if result.attestation is not None:
        return text
    statement = json.dumps(_statement(result, policies), separators=(",", ":"), ensure_ascii=False)
    payload = statement.encode()
    keyid, signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    envelope = Envelope(
        payloadType=PAYLOAD_TYPE,
        payload=base64.b64encode(payload).decode(),
        signatures=(Signature(keyid=keyid, sig=base64.b64encode(signature).decode()),),
    )
    return result.model_copy(update={"attestation": envelope}).to_json()


def pae(payload_type: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding, which is what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def exact_base64(text: str) -> bytes | None:
    """The bytes, if this is their canonical encoding; None otherwise: no second text stands for the
    same signature.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def value_digest(value: object) -> str:
    """SHA-256 (hex) of a JSON value, keys sorted and without white space."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _statement(result: Result, policies: Sequence[str]) -> dict[str, Any]:
    body = result.to_json().encode()
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {
                "name": result_name(result.id),
                "digest": {"sha256": hashlib.sha256(body).hexdigest()},
            }
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": facts(json.loads(body)),
            "grant": {"policies": list(policies)},
        },
    }


def facts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A result's fields, the long ones by digest."""
    return {
        name: {"sha256": value_digest(value)} if name in DIGESTED else value
        for name, value in fields.items()
    }
