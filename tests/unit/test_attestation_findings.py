"""What verifying finds wrong, in words."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from dispatcher.attestation import (
    Kind,
    git_blob,
    key_id,
)
from dispatcher.model.result import Result
from dispatcher.model.run import Tier
from dispatcher.model.verdicts import Verdict
from tests.support.sealed import (
    ACTION,
    KEY,
    OTHER_KEY,
    RESULT,
    resigned,
    seal,
    told,
    verify,
)


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
        assert told(RESULT.to_json().encode()) == [("unsigned", "the result has no attestation")]

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
