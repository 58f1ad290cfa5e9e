"""Attestations: what is signed, with which keys, and that no changed byte stays untold."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as ReferenceEnvelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from dispatcher.attestation import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    git_blob,
    key_id,
    pae,
    seal_with,
)
from dispatcher.model.result import Result
from tests.support.sealed import (
    ACTION,
    KEY,
    OTHER_KEY,
    RESULT,
    KeySigner,
    resigned,
    seal,
    told,
    verify,
)


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
