"""Verifies a result against its signature, offline, and reports what was changed.

Nothing in a file is trusted before its signature holds. The file is compared byte by byte with what
was signed: the part before ``attestation`` by its digest, the envelope by encoding it again. So white
space counts, and nothing can be hidden in another encoding of the same values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from dispatcher.attestation.envelope import (
    DIGESTED,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    exact_base64,
    facts,
    pae,
)
from dispatcher.attestation.keys import key_id
from dispatcher.model.paths import result_name
from dispatcher.model.result import Envelope
from dispatcher.model.run import Tier
from dispatcher.model.verdicts import Verdict

_MARK = b',\n  "attestation": '
_END = b"\n}\n"

_RAN = frozenset(verdict for verdict in Verdict if verdict.ran)
_NEED_APPROVAL = frozenset({Tier.MEDIUM, Tier.HIGH})


class Kind(StrEnum):
    """What a finding is about. Closed."""

    UNREADABLE = "unreadable"  # the file is not a result
    UNSIGNED = "unsigned"  # a result without an attestation
    ENVELOPE = "envelope"  # the envelope was modified
    KEY = "key"  # signed by a key that is not trusted, or the key's name was changed
    SIGNATURE = "signature"  # statement, type or signature was changed
    STATEMENT = "statement"  # signed, but not a statement about a run
    RESULT = "result"  # the result is not the one that was signed
    ID = "id"  # the result belongs to another action
    ACTION = "action"  # the action file is not the one that ran
    FORMULA = "formula"  # the formula is not the one that ran
    OUTPUT = "output"  # the output kept on the remote is not the one that the result names
    APPROVAL = "approval"  # it ran without the approval that its tier needs


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One problem of a result.

    Attributes:
        kind: what it is about.
        message: one sentence without a full stop.
        field: the result's field, if it is about one.
    """

    kind: Kind
    message: str
    field: str = ""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The outcome of a verification.

    Attributes:
        findings: the problems; empty for a verified result.
        keyid: id of the key whose signature holds; "" if none does.
        predicate: what was signed; empty if no signature holds.
    """

    findings: tuple[Finding, ...]
    keyid: str = ""
    predicate: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verified(self) -> bool:
        """Whether there are no problems."""
        return not self.findings


def git_blob(data: bytes, *, like: str = "") -> str:
    """The hash (hex) that git gives these bytes as a blob.

    Args:
        data: the blob.
        like: another hash of the repository: SHA-256 if it has 64 digits, else SHA-1.
    """
    framed = b"blob %d\0" % len(data) + data
    if len(like) == 64:
        return hashlib.sha256(framed).hexdigest()
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest()


def verify_result(
    data: bytes,
    *,
    action_id: str,
    action: bytes | None,
    public_keys: Sequence[Ed25519PublicKey],
    formula: bytes | None = None,
    blob_of: Callable[[bytes], str] | None = None,
) -> Verification:
    """Verify a result's file. Pure; never raises because of its content.

    Args:
        data: the bytes of ``<id>.result.json``.
        action_id: the id by the file's name.
        action: the bytes of ``<id>.toml``; None if the file is missing.
        public_keys: those that are trusted.
        formula: the formula's bytes, if they are available.
        blob_of: hash of a blob in this repository; by default git's, of the kind that was signed.
    """
    parts = _split(data)
    if isinstance(parts, Finding):
        return Verification(findings=(parts,))
    body, envelope = parts
    statement, keyid, findings = _opened(envelope, public_keys)
    if statement is None:
        return Verification(findings=tuple(findings))
    predicate = statement.get("predicate")
    predicate = predicate if isinstance(predicate, dict) else {}
    signed = predicate.get("result")
    signed = signed if isinstance(signed, dict) else {}
    findings += _statement_findings(statement, action_id)
    findings += _result_findings(body, statement, signed)
    findings += _context_findings(signed, action_id, action, formula, blob_of)
    return Verification(findings=tuple(findings), keyid=keyid, predicate=predicate)


def _split(data: bytes) -> tuple[bytes, Envelope] | Finding:
    """The result as it was before it was signed, and the envelope."""
    mark = data.rfind(_MARK)
    if mark < 0 or not data.endswith(_END):
        return _why_not_signed(data)
    raw = data[mark + len(_MARK) : -len(_END)]
    try:
        envelope = Envelope.model_validate_json(raw)
    except ValidationError:
        return Finding(kind=Kind.ENVELOPE, message="the attestation is not a DSSE envelope")
    if raw != envelope.model_dump_json(indent=2).replace("\n", "\n  ").encode():
        what = "the attestation is formatted differently from when it was signed"
        return Finding(kind=Kind.ENVELOPE, message=what)
    return data[:mark] + _END, envelope


def _why_not_signed(data: bytes) -> Finding:
    fields = _object(data)
    if fields is None:
        return Finding(kind=Kind.UNREADABLE, message="the file is not a JSON object")
    if not fields.get("attestation"):
        return Finding(kind=Kind.UNSIGNED, message="the result has no attestation")
    what = "the file is formatted differently from when it was signed"
    return Finding(kind=Kind.RESULT, message=what)


def _opened(
    envelope: Envelope, public_keys: Sequence[Ed25519PublicKey]
) -> tuple[dict[str, Any] | None, str, list[Finding]]:
    """The statement, once a trusted key's signature over it holds; and that key's id."""
    payload = exact_base64(envelope.payload)
    signatures = [exact_base64(signature.sig) for signature in envelope.signatures]
    if payload is None or None in signatures:
        return None, "", [_finding(Kind.ENVELOPE, "payload or signature is not base64")]
    if len(signatures) != 1:
        what = f"the envelope has {len(signatures)} signatures, not one"
        return None, "", [_finding(Kind.ENVELOPE, what)]
    named, message = envelope.signatures[0].keyid, pae(envelope.payloadType, payload)
    keys = {_id_of(key.public_bytes_raw()): key for key in public_keys}
    in_turn = sorted(keys, key=lambda each: each != named)
    signer = next((i for i in in_turn if _holds(keys[i], signatures[0] or b"", message)), None)
    if signer is None and named not in keys:
        return None, "", [_finding(Kind.KEY, f"no trusted key {named[:64]!r} signed this")]
    if signer is None:
        what = "the signature does not match: the statement, its type or the signature was modified"
        return None, "", [_finding(Kind.SIGNATURE, what)]
    findings = []
    if signer != named:
        what = f"it is signed with the key {signer}, but the envelope names another"
        findings.append(_finding(Kind.KEY, what))
    if envelope.payloadType != PAYLOAD_TYPE:
        findings.append(_finding(Kind.STATEMENT, "the signed content is not an in-toto statement"))
        return None, "", findings
    statement = _object(payload)
    if statement is None:
        findings.append(_finding(Kind.STATEMENT, "the signed content is not a JSON object"))
    return statement, signer, findings


@lru_cache(maxsize=256)
def _id_of(raw: bytes) -> str:
    return key_id(Ed25519PublicKey.from_public_bytes(raw))


def _statement_findings(statement: Mapping[str, Any], action_id: str) -> Iterator[Finding]:
    if statement.get("_type") != STATEMENT_TYPE:
        yield _finding(
            Kind.STATEMENT, "the signed content is not an in-toto statement of version 1"
        )
    if statement.get("predicateType") != PREDICATE_TYPE:
        yield _finding(Kind.STATEMENT, "the signed statement is not about a run")
    name = _subject(statement).get("name")
    if name != result_name(action_id):
        what = f"the signed statement is about {_shown(name)}, not about {result_name(action_id)}"
        yield _finding(Kind.ID, what)


def _result_findings(
    body: bytes, statement: Mapping[str, Any], signed: Mapping[str, Any]
) -> Iterator[Finding]:
    digests = _subject(statement).get("digest")
    signed_digest = digests.get("sha256") if isinstance(digests, dict) else None
    if signed_digest == hashlib.sha256(body).hexdigest():
        return
    fields = _object(body)
    if fields is None:
        yield _finding(Kind.RESULT, "the result is no longer a JSON object")
        return
    present = facts(fields)
    named = False
    for name in dict.fromkeys([*signed, *present]):
        if name not in present or name not in signed or present[name] != signed[name]:
            named = True
            yield _changed(name, present, signed)
    if not named:
        what = (
            "the result is formatted differently from when it was signed; its values are the same"
        )
        yield _finding(Kind.RESULT, what)


def _changed(name: str, present: Mapping[str, Any], signed: Mapping[str, Any]) -> Finding:
    if name not in signed:
        message = f"field {_shown(name)} was added"
    elif name not in present:
        message = f"field {_shown(name)} was removed"
    elif name in DIGESTED:
        message = f'field "{name}" was modified'
    else:
        message = f"{name} is {_shown(present[name])}, but {_shown(signed[name])} was signed"
    return Finding(kind=Kind.RESULT, message=message, field=name)


def _context_findings(
    signed: Mapping[str, Any],
    action_id: str,
    action: bytes | None,
    formula: bytes | None,
    blob_of: Callable[[bytes], str] | None,
) -> Iterator[Finding]:
    """The signed facts against the repository around them."""
    if signed.get("id") != action_id:
        what = f"the signed result is of action {_shown(signed.get('id'))}, not of {action_id}"
        yield Finding(kind=Kind.ID, message=what, field="id")
    blob = signed.get("blob")
    if action is None:
        yield _finding(Kind.ACTION, f"the action file {action_id}.toml is missing")
    elif (present := blob_of(action) if blob_of else git_blob(action, like=str(blob))) != blob:
        what = f"the action file is blob {present}, but {_shown(blob)} ran"
        yield Finding(kind=Kind.ACTION, message=what, field="blob")
    ran = signed.get("formula")
    wanted = ran.get("sha256") if isinstance(ran, dict) else None
    if formula is not None and wanted and hashlib.sha256(formula).hexdigest() != wanted:
        what = f"the formula's SHA-256 differs from that of the one that ran, {_shown(wanted)}"
        yield Finding(kind=Kind.FORMULA, message=what, field="formula")
    needed = str(signed.get("verdict")) in _RAN and str(signed.get("tier")) in _NEED_APPROVAL
    if needed and not signed.get("approved_by"):
        what = f"it ran at tier {signed['tier']}, but no approver is named"
        yield Finding(kind=Kind.APPROVAL, message=what, field="approved_by")


def _holds(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _subject(statement: Mapping[str, Any]) -> dict[str, Any]:
    subject = statement.get("subject")
    if isinstance(subject, list) and len(subject) == 1 and isinstance(subject[0], dict):
        return subject[0]
    return {}


def _finding(kind: Kind, message: str) -> Finding:
    return Finding(kind=kind, message=message)


def _shown(value: object) -> str:
    """A value for a message: JSON in ASCII, so that it contains no control characters."""
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
