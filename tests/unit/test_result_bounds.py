"""A file in place of a result holds no number that nobody can print, and an error about it has a remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from dispatcher.errors import InvalidInput
from dispatcher.loop.results import of_run
from dispatcher.model.result import LONGEST_S, RESULT_LIMIT, Result
from dispatcher.model.run import Claim, Outcome, Phase, Placement, RunKey
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.files import read_result
from dispatcher.operate.follow import Followed
from dispatcher.ops_repo import Tree
from dispatcher.ops_repo.records import Entry

WHOLE = {"id": "x", "exit_code": 1, "timestamp": "2026-11-22T00:00:00Z", "verdict": "failed"}
KEPT = {"bytes": 1, "packed": 1, "sha256": "0" * 64, "object": "0" * 40}
PATH = "vault/actions/x.result.json"
CLAIM = Claim(key=RunKey(action_id="x", blob="b" * 40), phase=Phase.SUBMITTED, commit="c")


class Repo:
    """Has one blob."""

    def __init__(self, data: bytes | int) -> None:
        self.data = data

    def read(self, blobs: list[str], *, limit: int) -> dict[str, bytes | int]:
        assert limit == RESULT_LIMIT
        return dict.fromkeys(blobs, self.data)


def read(data: bytes | int) -> Result | None:
    repo: Any = Repo(data)
    tree = Tree()
    tree.become("c" * 40, {PATH: Entry(mode=0o100644, oid="b" * 40)})
    return read_result(repo, tree, "x")


@pytest.mark.parametrize(
    "text",
    [
        '"duration_s": 1e308',
        '"duration_s": 1e999',
        '"duration_s": -1e999',
        '"duration_s": NaN',
        '"duration_s": Infinity',
        '"duration_s": -0.5',
        f'"duration_s": {LONGEST_S * 2}',
        f'"exit_code": {2**31}',
        f'"exit_code": {-(2**70)}',
        f'"exit_code": 1{"0" * 3_000}',
        '"exit_code": 1e300',
        *(
            f'"output": {json.dumps({"month": "2026-11", "stdout": {**KEPT, name: 2**60}})}'
            for name in ("bytes", "omitted", "packed")
        ),
    ],
)
def test_absurd_numbers_make_it_no_result(text: str) -> None:
    whole = json.dumps(WHOLE)[:-1] + f", {text}}}"
    with pytest.raises(ValidationError):
        Result.model_validate_json(whole)
    with pytest.raises(InvalidInput) as raised:
        read(whole.encode())
    assert text.split('"')[1] in str(raised.value)
    assert "0" * 100 not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a JSON object"),
        (b"garbage \x1b[2J", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (5_000_000, "5,000,000 bytes"),
        (b'{"id": "x"}', "exit_code: Field required"),
        (json.dumps({**WHOLE, "\x1b[2Jpwned" + "x" * 500: 1}).encode(), "Extra inputs are not"),
    ],
)
def test_what_is_in_place_of_a_result_is_named_with_a_remedy(data: bytes | int, why: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read(data)
    text = str(raised.value)
    assert why in text
    assert "\x1b" not in text
    assert len(text) < 800
    assert PATH in text
    assert "'disinto verify x'" in text
    assert "submit it under a new id" in text


def test_a_genuine_result_never_has_such_numbers() -> None:
    """A clock may be set while a run is under way."""
    for started, finished in ((1.0, 1.0 + LONGEST_S * 1.5), (5.0, 1.0), (0.0, 2.0)):
        outcome = Outcome(
            verdict=Verdict.SUCCEEDED, exit_code=0, started_at=started, finished_at=finished
        )
        result = of_run(CLAIM, outcome, Placement(kind="local"), now=2.0)
        assert (result.verdict, result.duration_s) == (Verdict.SUCCEEDED, None)
        assert read(result.to_json().encode()) == result
    odd = Outcome(verdict=Verdict.FAILED, exit_code=2**40)
    result = of_run(CLAIM, odd, Placement(kind="local"), now=2.0)
    assert (result.verdict, result.exit_code) == (Verdict.FAILED, Verdict.FAILED.exit_code)


@pytest.mark.parametrize("code", [256, 512, -256, 1, 255, -1, 300])
def test_no_exit_code_of_a_failed_run_reads_as_success(code: int) -> None:
    """The shell sees the last eight bits."""
    result = Result.model_validate({**WHOLE, "exit_code": code})
    assert Followed(result=result, streamed=False).exit_code % 256 != 0
