"""Claims as text."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.ledger.codec import FORMAT, UnreadableClaim, decode, encode
from dispatcher.model.run import Claim
from tests.contract.claims import claim, claims


@given(any_claim=claims(), version=st.integers(min_value=1))
def test_what_was_written_is_read(any_claim: Claim, version: int) -> None:
    text = encode(replace(any_claim, version=17))
    assert text.isascii()
    assert decode(text, version=version, place="x") == replace(any_claim, version=version)


def test_each_field_is_written_but_the_version() -> None:
    written = set(json.loads(encode(claim())))
    assert written == {"format", *(field.name for field in fields(Claim))} - {"version"}


def test_a_lone_surrogate_from_git_survives() -> None:
    odd = replace(claim(), approved_by=("J\udcf6rg",))
    assert decode(encode(odd), version=0, place="x") == odd


def test_a_field_of_a_later_version_is_passed_over() -> None:
    later = {**json.loads(encode(claim())), "mood": "good"}
    assert decode(json.dumps(later), version=0, place="x") == claim()


def test_a_field_that_only_an_earlier_version_wrote_is_passed_over() -> None:
    """Claims named a parent job, which no engine used."""
    earlier = {**json.loads(encode(claim())), "job": "local"}
    assert decode(json.dumps(earlier), version=0, place="x") == claim()


def test_a_field_that_an_earlier_version_did_not_write_has_its_default() -> None:
    earlier = json.loads(encode(claim()))
    del earlier["revoked"]
    assert decode(json.dumps(earlier), version=0, place="x") == claim()


def test_a_later_format_is_refused_with_what_to_do() -> None:
    later = {**json.loads(encode(claim())), "format": FORMAT + 1}
    with pytest.raises(UnreadableClaim, match=r"format 2.*run that one until its runs have ended"):
        decode(json.dumps(later), version=0, place="x")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "{}", '{"claim": 1}'])
def test_what_is_no_claim_is_refused(text: str) -> None:
    with pytest.raises(UnreadableClaim, match="at the-place"):
        decode(text, version=0, place="the-place")


@pytest.mark.parametrize(
    ("field", "value"), [("phase", "dreaming"), ("key", None), ("timeout_s", "soon"), ("tier", 3)]
)
def test_a_field_that_makes_no_sense_is_named(field: str, value: object) -> None:
    broken = {**json.loads(encode(claim())), field: value}
    with pytest.raises(UnreadableClaim, match=field):
        decode(json.dumps(broken), version=0, place="x")


@given(text=st.text(max_size=50) | st.binary(max_size=50))
def test_nothing_read_makes_another_error(text: str | bytes) -> None:
    with pytest.raises(UnreadableClaim):
        decode(text, version=0, place="x")
