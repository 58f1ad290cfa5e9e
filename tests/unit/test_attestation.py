"""Attestations: what is signed, with which keys, and that no changed byte stays untold."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as ReferenceEnvelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from dispatcher.attestation import (
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Kind,
    Verification,
    git_blob,
    key_id,
    load_public_keys,
    local_signer,
    pae,
    public_pem,
    seal_with,
    transit_signer,
    verify_result,
)
from dispatcher.errors import Misconfigured
from dispatcher.model.result import Result, ResultEngine, ResultFormula
from dispatcher.model.run import Tier, Verdict

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


class TestSealing:
    def test_a_sealed_result_is_verified(self) -> None:
        verification = verify(seal())
        assert verification.verified, verification.findings
        assert verification.keyid == key_id(KEY.public_key())
        assert verification.predicate["grant"] == {"policies": ["runner-db"]}

    def test_the_statement_names_what_ran(self) -> None:
        envelope = json.loads(seal())["attestation"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        assert envelope["payloadType"] == "application/vnd.in-toto+json"
        assert statement["_type"] == STATEMENT_TYPE
        assert statement["predicateType"] == PREDICATE_TYPE
        assert [subject["name"] for subject in statement["subject"]] == ["deploy.result.json"]
        signed = statement["predicate"]["result"]
        assert signed["blob"] == git_blob(ACTION)
        assert signed["formula"] == {"name": "hello", "sha256": "f" * 64}
        assert signed["approved_by"] == ["alice"]
        assert (signed["tier"], signed["commit"]) == ("high", "c" * 40)
        assert signed["engine"]["job"] == "runner/dispatch-1"
        assert signed["engine"]["alloc"] == "a1"
        assert signed.keys() == json.loads(RESULT.to_json()).keys()

    def test_the_result_reads_as_before_and_is_written_the_same(self) -> None:
        sealed = seal()
        read = Result.model_validate_json(sealed)
        assert read.model_copy(update={"attestation": None}) == RESULT
        assert read.to_json().encode() == sealed
        assert "attestation" not in json.loads(RESULT.to_json())

    def test_sealing_twice_is_sealing_once(self) -> None:
        sealed = seal()
        assert seal() == sealed
        assert seal_with(KeySigner(OTHER_KEY), sealed.decode()).encode() == sealed

    def test_pae_is_that_of_the_specification(self) -> None:
        assert pae("http://example.com/HelloWorld", b"hello world") == (
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        )
        assert pae("ü", b"") == b"DSSEv1 2 \xc3\xbc 0 "

    def test_another_implementation_verifies_the_envelope(self) -> None:
        envelope = json.loads(seal())["attestation"]
        crypto = CryptoSigner(KEY)
        keyid = envelope["signatures"][0]["keyid"]
        public = crypto.public_key
        reference = SSlibKey(keyid, public.keytype, public.scheme, public.keyval)
        accepted = ReferenceEnvelope.from_dict(envelope).verify([reference], 1)
        assert list(accepted) == [keyid]

    @given(
        logs=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
        outputs=st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
            st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
            max_size=3,
        ),
    )
    def test_any_result_verifies(self, logs: str, outputs: dict[str, object]) -> None:
        result = RESULT.model_copy(update={"logs": logs, "outputs": outputs})
        sealed = seal(result)
        verification = verify(sealed)
        assert verification.verified, verification.findings
        assert Result.model_validate_json(sealed).to_json().encode() == sealed


class TestEveryByte:
    def test_every_changed_byte_is_told(self) -> None:
        sealed = seal()
        for at in range(len(sealed)):
            for flipped in (0x01, 0x20, 0x80):
                data = bytearray(sealed)
                data[at] ^= flipped
                assert not verify(bytes(data)).verified, (at, flipped)

    def test_every_byte_left_out_or_put_in_is_told(self) -> None:
        sealed = seal()
        for at in range(len(sealed) + 1):
            assert not verify(sealed[:at] + b" " + sealed[at:]).verified, at
            if at < len(sealed):
                assert not verify(sealed[:at] + sealed[at + 1 :]).verified, at

    def test_another_base64_of_the_same_bytes_is_told(self) -> None:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        sig = json.loads(seal())["attestation"]["signatures"][0]["sig"]
        assert sig.endswith("==")
        same = sig[:-3] + alphabet[alphabet.index(sig[-3]) + 1] + "=="
        assert base64.b64decode(same, validate=True) == base64.b64decode(sig)
        data = seal().replace(sig.encode(), same.encode())
        assert [kind for kind, _ in told(data)] == ["envelope"]

    def test_every_end_cut_off_is_told(self) -> None:
        sealed = seal()
        assert not any(verify(sealed[:length]).verified for length in range(len(sealed)))

    @given(st.binary(max_size=200))
    def test_any_bytes_are_told(self, data: bytes) -> None:
        assert not verify(data).verified

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["_type", "subject", "predicate", "result", "tier", "verdict"]),
                    inner,
                    max_size=4,
                )
            ),
        )
    )
    def test_any_signed_statement_is_judged_without_an_exception(self, value: Any) -> None:
        change = value if isinstance(value, dict) else {"predicate": value, "subject": value}
        verify(resigned(change))


class TestFindings:
    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("exit_code", 4, "exit_code is 4, but 3 was signed"),
            ("timestamp", "now", 'timestamp is "now", but "2024-02-29T12:00:00.000Z" was signed'),
            ("logs", "nothing happened", 'field "logs" was modified'),
            ("outputs", {}, 'field "outputs" was modified'),
            ("error", "x", 'field "error" was modified'),
            ("approved_by", ["mallory"], 'approved_by is ["mallory"], but ["alice"] was signed'),
            ("tier", "low", 'tier is "low", but "high" was signed'),
            ("extra", 1, 'field "extra" was added'),
        ],
    )
    def test_a_changed_field_is_named(self, field: str, value: object, message: str) -> None:
        file = json.loads(seal())
        attestation = file.pop("attestation")
        data = json.dumps(file | {field: value, "attestation": attestation}, indent=2) + "\n"
        findings = told(data.encode())
        assert ("result", message) in findings
        assert {kind for kind, _ in findings} == {"result"}

    def test_a_field_taken_out_is_named(self) -> None:
        file = json.loads(seal())
        del file["tier"]
        data = json.dumps(file, indent=2, ensure_ascii=False) + "\n"
        assert ("result", 'field "tier" was removed') in told(data.encode())

    def test_another_way_of_writing_is_told_as_such(self) -> None:
        escaped = seal().replace("ü".encode(), b"\\u00fc")
        ((kind, message),) = told(escaped)
        assert kind == "result"
        assert "its values are the same" in message
        assert told(json.dumps(json.loads(seal())).encode())[0][0] == "result"

    def test_a_result_without_attestation_is_unsigned(self) -> None:
        assert told(RESULT.to_json().encode()) == [
            ("unsigned", "the result carries no attestation")
        ]

    def test_a_file_that_is_no_result(self) -> None:
        assert told(b"\xff")[0][0] == "unreadable"
        assert told(b"[" * 100_000)[0][0] == "unreadable"
        assert told(b"[]")[0][0] == "unreadable"

    def test_a_key_that_is_not_trusted(self) -> None:
        assert [kind for kind, _ in told(seal(key=OTHER_KEY))] == ["key"]
        assert [kind for kind, _ in told(seal(), public_keys=[])] == ["key"]

    def test_any_of_several_trusted_keys_will_do(self) -> None:
        keys = [OTHER_KEY.public_key(), KEY.public_key()]
        assert verify(seal(), public_keys=keys).verified

    def test_a_changed_key_name_is_told(self) -> None:
        data = seal().replace(key_id(KEY.public_key()).encode(), b"0" * 64)
        ((kind, message),) = told(data)
        assert (kind, "names another" in message) == ("key", True)

    def test_a_changed_statement_breaks_the_signature(self) -> None:
        file = json.loads(seal())
        payload = base64.b64decode(file["attestation"]["payload"])
        forged = payload.replace(b'"exit_code":3', b'"exit_code":4')
        assert forged != payload
        file["attestation"]["payload"] = base64.b64encode(forged).decode()
        data = Result.model_validate(file).to_json().encode()
        assert [kind for kind, _ in told(data)] == ["signature"]

    def test_a_changed_payload_type_breaks_the_signature(self) -> None:
        data = seal().replace(b"vnd.in-toto+json", b"vnd.in-toto+cbor")
        assert [kind for kind, _ in told(data)] == ["signature"]

    def test_a_signature_for_another_kind_of_payload_counts_nothing(self) -> None:
        data = resigned({}, payload_type="text/plain")
        assert [kind for kind, _ in told(data)] == ["statement"]

    @pytest.mark.parametrize(
        "change", [{"_type": "x"}, {"predicateType": "x"}, {"predicateType": None}]
    )
    def test_a_statement_about_something_else_counts_nothing(self, change: dict[str, Any]) -> None:
        assert "statement" in [kind for kind, _ in told(resigned(change))]

    def test_a_second_signature_is_told(self) -> None:
        file = json.loads(seal())
        file["attestation"]["signatures"] *= 2
        data = Result.model_validate(file).to_json().encode()
        assert told(data) == [("envelope", "the envelope has 2 signatures, not one")]

    def test_a_result_under_another_name_is_told(self) -> None:
        findings = told(seal(), action_id="other")
        assert ("id", 'the signed result is of action "deploy", not of other') in findings

    def test_a_changed_action_is_told(self) -> None:
        ((kind, message),) = told(seal(), action=ACTION + b"# ")
        assert kind == "action"
        assert git_blob(ACTION) in message
        assert told(seal(), action=None) == [("action", "the action file deploy.toml is missing")]

    def test_blobs_of_another_object_format_are_compared(self) -> None:
        result = RESULT.model_copy(update={"blob": "ab" * 32})
        assert verify(seal(result), blob_of=lambda _: "ab" * 32).verified
        # printf '' | git hash-object --stdin, in repositories of either object format
        sha1 = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        sha256 = "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
        for blob in (sha1, sha256):
            empty = seal(RESULT.model_copy(update={"blob": blob}))
            assert verify(empty, action=b"").verified
            assert [kind for kind, _ in told(empty)] == ["action"]

    def test_a_changed_formula_is_told(self) -> None:
        assert [kind for kind, _ in told(seal(), formula=b"other")] == ["formula"]

    @pytest.mark.parametrize("tier", [Tier.MEDIUM, Tier.HIGH])
    def test_a_run_without_its_approval_is_told(self, tier: Tier) -> None:
        result = RESULT.model_copy(update={"approved_by": (), "tier": tier})
        assert [kind for kind, _ in told(seal(result))] == ["approval"]

    @pytest.mark.parametrize(
        "change",
        [{"tier": Tier.LOW}, {"verdict": Verdict.REFUSED}, {"verdict": Verdict.INVALID}],
    )
    def test_what_needs_no_approval_is_fine_without(self, change: Mapping[str, Any]) -> None:
        result = RESULT.model_copy(update={"approved_by": (), **change})
        assert verify(seal(result)).verified

    def test_messages_are_printable(self) -> None:
        result = RESULT.model_copy(update={"id": "\x1b[2J\u202e"})
        assert all(message.isprintable() for _, message in told(seal(result)))

    def test_every_kind_is_closed(self) -> None:
        assert {kind.value for kind in Kind} >= {"result", "action", "signature", "approval"}


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
        with pytest.raises(Misconfigured, match="holds no ed25519 key"):
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
