"""Outputs however deep: they never cost a run its verdict, nor its result."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.attestation.envelope import seal_with
from dispatcher.loop.results import of_run
from dispatcher.model.payload import OUTPUT_LEVELS, decode_outcome, encode_outcome
from dispatcher.model.result import Result
from dispatcher.model.run import Claim, Outcome, Phase, Placement, RunKey
from dispatcher.model.verdicts import Verdict
from dispatcher.runner.outcome import read_outputs
from dispatcher.runner.redact import Secrets


class Key:
    """Stands for a signing key."""

    def sign(self, _data: bytes) -> tuple[str, bytes]:
        return "key", b"signature"


def nested(levels: int) -> str:
    """A JSON object with so many levels; one level is the object itself."""
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}" if levels > 1 else "{}"


def ended(levels: int, tmp_path: Path) -> Outcome:
    """The outcome of a formula that succeeded and left such outputs, as the dispatcher reads it."""
    file = tmp_path / "outputs.json"
    file.write_text(nested(levels))
    outputs, trouble = read_outputs(str(file), Secrets({}))
    outcome = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, outputs=outputs, error=trouble)
    return decode_outcome(encode_outcome(outcome))


def result_of(outcome: Outcome) -> Result:
    """The result that is pushed, after claim and signature."""
    claim = Claim(key=RunKey(action_id="deep", blob="ab" * 20), phase=Phase.SUBMITTED, commit="c")
    text = of_run(claim, outcome, Placement(kind="local"), now=2.0).to_json()
    return Result.model_validate_json(seal_with(Key(), text))


@pytest.mark.parametrize("levels", [1, 2, OUTPUT_LEVELS])
def test_outputs_up_to_the_limit_come_through(levels: int, tmp_path: Path) -> None:
    result = result_of(ended(levels, tmp_path))
    assert result.error == ""
    assert bool(result.outputs) == (levels > 1)


@pytest.mark.parametrize("levels", [OUTPUT_LEVELS + 1, 210, 480, 20_000])
def test_outputs_nested_deeper_are_left_out_and_the_run_has_succeeded(
    levels: int, tmp_path: Path
) -> None:
    result = result_of(ended(levels, tmp_path))
    assert result.verdict is Verdict.SUCCEEDED
    assert result.outputs == {}
    assert f"nested more than {OUTPUT_LEVELS} levels deep" in result.error


@pytest.mark.parametrize("levels", [OUTPUT_LEVELS + 1, 210, 480])
def test_an_outcome_that_another_runner_wrote_is_held_to_the_limit_too(levels: int) -> None:
    text = f'{{"verdict": "succeeded", "exit_code": 0, "outputs": {nested(levels)}}}'
    result = result_of(decode_outcome(text.encode()))
    assert result.verdict is Verdict.SUCCEEDED
    assert result.outputs == {}
    assert f"nested more than {OUTPUT_LEVELS} levels deep" in result.error


def test_the_reason_why_a_run_failed_is_kept_beside_that() -> None:
    deep = nested(OUTPUT_LEVELS + 1)
    text = f'{{"verdict": "failed", "exit_code": 1, "error": "no disk", "outputs": {deep}}}'
    assert decode_outcome(text.encode()).error.startswith("no disk; the outputs are nested")


UNREPRESENTABLE = [
    (r'{"a": "\ud800"}', "lone surrogate"),
    (r'{"a": ["x", {"b": "\udfff\ud800"}]}', "lone surrogate"),
    (r'{"\udc80": 1}', "lone surrogate"),
    (r'{"a": {"\ud83d": 1}}', "lone surrogate"),
    ('{"a": NaN}', "NaN or an infinite number"),
    ('{"a": [Infinity]}', "NaN or an infinite number"),
    ('{"a": -Infinity}', "NaN or an infinite number"),
    ('{"a": 1e999}', "NaN or an infinite number"),
    ('{"a": {"b": -1e999}}', "NaN or an infinite number"),
]


@pytest.mark.parametrize(("text", "why"), UNREPRESENTABLE)
def test_outputs_that_no_result_can_hold_are_left_out_and_the_run_has_succeeded(
    text: str, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(text)
    outputs, trouble = read_outputs(str(file), Secrets({"S": b"a long secret"}))
    assert outputs == {}
    assert why in trouble
    assert trouble.endswith("were left out")
    outcome = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, logs="x", error=trouble)
    result = result_of(decode_outcome(encode_outcome(outcome)))
    assert (result.verdict, result.logs) == (Verdict.SUCCEEDED, "x")


@pytest.mark.parametrize(("text", "why"), UNREPRESENTABLE)
def test_an_outcome_with_such_outputs_from_another_runner_keeps_its_verdict(
    text: str, why: str
) -> None:
    whole = f'{{"verdict": "succeeded", "exit_code": 0, "logs": "x", "outputs": {text}}}'
    result = result_of(decode_outcome(whole.encode()))
    assert (result.verdict, result.logs, result.outputs) == (Verdict.SUCCEEDED, "x", {})
    assert why in result.error


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"a": "\ud83d\ude00"}', "\U0001f600"),
        ('{"a": 1e308}', 1e308),
        ('{"a": 1e-999}', 0.0),
        ('{"a": "NaN"}', "NaN"),
    ],
)
def test_what_json_can_represent_comes_through(text: str, value: object, tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(text)
    assert read_outputs(str(file), Secrets({"S": b"a long secret"})) == ({"a": value}, "")


def test_an_outcome_too_deep_to_be_read_is_no_outcome() -> None:
    with pytest.raises(ValueError, match="not an outcome"):
        decode_outcome(b'{"verdict": "succeeded", "exit_code": 0, "outputs": ' + b"[" * 100_000)
