"""The payload survives the way to the runner, and nothing else passes for one."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.model.mounts import Mount
from dispatcher.model.payload import (
    VERSION,
    BadPayload,
    IncompletePayload,
    NotAuthentic,
    decode_outcome,
    decode_payload,
    encode_outcome,
    encode_payload,
)
from dispatcher.model.run import (
    FormulaKind,
    FormulaRef,
    Grant,
    Outcome,
    RunKey,
    RunSpec,
    Tier,
    WrappedGrant,
)
from dispatcher.model.verdicts import Verdict

WRAPPED = WrappedGrant(
    grant=Grant(wrapping_accessor="wa", accessor="a", policies=("runner-x",)),
    token="s.wrapping",
    creation_path="auth/token/create/disinto-runner",
)

SPECS = st.builds(
    RunSpec,
    key=st.builds(RunKey, action_id=st.just("deploy"), blob=st.just("ab" * 20)),
    commit=st.text(max_size=40),
    tier=st.sampled_from(Tier),
    approved_by=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    formula=st.builds(
        FormulaRef,
        name=st.just("hello"),
        kind=st.sampled_from(FormulaKind),
        blob=st.just("cd" * 20),
        sha256=st.just("ef" * 32),
        commit=st.just(""),
    ),
    formula_text=st.none() | st.binary(max_size=200),
    context=st.text(max_size=50),
    secrets=st.lists(st.just("TOKEN"), max_size=2).map(tuple),
    mounts=st.lists(st.sampled_from(Mount), max_size=3).map(tuple),
    params=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
    agent_argv=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    timeout_s=st.integers(1, 10_000),
)


@given(SPECS)
def test_round_trip(spec: RunSpec) -> None:
    payload = decode_payload(encode_payload(spec, WRAPPED))
    assert payload.spec == spec
    assert (payload.token, payload.creation_path) == (WRAPPED.token, WRAPPED.creation_path)


@given(SPECS, st.data())
def test_every_cut_is_incomplete(spec: RunSpec, data: st.DataObject) -> None:
    whole = encode_payload(spec, WRAPPED)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(IncompletePayload):
        decode_payload(whole[:cut])


@given(st.binary(max_size=100) | st.binary(max_size=100).map(zlib.compress))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadPayload):
        decode_payload(data)


@pytest.mark.parametrize("document", [[], 1, {}, {"version": 1}, {"version": 1, "spec": []}])
def test_foreign_json_is_refused(document: object) -> None:
    with pytest.raises(BadPayload, match="not the JSON of a run"):
        decode_payload(zlib.compress(json.dumps(document).encode()))


def test_another_version_names_both() -> None:
    with pytest.raises(BadPayload, match="version 7, this runner reads 2"):
        decode_payload(zlib.compress(b'{"version": 7}'))


def test_the_token_is_in_no_repr() -> None:
    assert WRAPPED.token not in repr(decode_payload(encode_payload(SPEC, WRAPPED)))


SPEC = RunSpec(
    key=RunKey(action_id="a", blob="00" * 20),
    commit="c",
    tier=Tier.LOW,
    formula=FormulaRef(name="f", kind=FormulaKind.SHELL, blob="", sha256=""),
)


def test_an_outcome_round_trips() -> None:
    outcome = Outcome(
        verdict=Verdict.FAILED,
        exit_code=137,
        signal=9,
        formula_started=True,
        started_at=1.5,
        finished_at=2.5,
        logs="é\n\ud800",
        outputs={"host": "x"},
    )
    again = decode_outcome(encode_outcome(outcome))
    assert again.logs == "é\n?"
    assert again.signal == 9
    assert again.outputs == outcome.outputs


KEYED = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True, logs="é", outputs={})


def test_an_outcome_verifies_with_the_key_of_its_run_alone() -> None:
    data = encode_outcome(KEYED, key="k1")
    assert decode_outcome(data, key="k1") == decode_outcome(data) == KEYED
    assert json.loads(data)["verdict"] == "succeeded"
    for foreign in (encode_outcome(KEYED), encode_outcome(KEYED, key="k2"), b"", b'{"mac":""}'):
        with pytest.raises(NotAuthentic):
            decode_outcome(foreign, key="k1")


def test_every_changed_byte_of_an_outcome_is_noticed() -> None:
    data = encode_outcome(KEYED, key="k1")
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(NotAuthentic):
            decode_outcome(changed, key="k1")


def test_a_payload_of_the_release_before_is_read_and_has_no_key() -> None:
    document = json.loads(zlib.decompress(encode_payload(SPEC, WRAPPED)))
    assert document["version"] == VERSION
    del document["spec"]["outcome_key"]
    old = zlib.compress(json.dumps({**document, "version": 1}).encode())
    assert decode_payload(old).spec.outcome_key == ""


def test_the_key_is_in_no_repr() -> None:
    spec = replace(SPEC, outcome_key="canary-key")
    assert "canary-key" not in repr(spec) + repr(decode_payload(encode_payload(spec, WRAPPED)))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"verdict": "maybe", "exit_code": 1}'])
def test_other_files_are_no_outcome(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_outcome(data)
