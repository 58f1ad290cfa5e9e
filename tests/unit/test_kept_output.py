"""What of the ops repository's output is shown: only what has the digest that the result names."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from typing import Any

import pytest

from dispatcher.attestation import git_blob
from dispatcher.attestation.verify import Kind
from dispatcher.errors import Dependency, NotFound, Unavailable
from dispatcher.model.result import KeptStream, Result, ResultOutput
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.ended_output import from_repository
from dispatcher.operate.kept_output import PACKED_LIMIT, check_output, kept_chunks, unproven


@dataclass
class Outputs:
    """The remote's objects."""

    data: bytes | None
    limit: int = 0

    def fetch(self, oid: str, *, limit: int) -> bytes:
        self.limit = limit
        if self.data is None:
            raise NotFound(f"the remote does not have object {oid[:12]}")
        return self.data


def repo_with(data: bytes | None) -> Any:
    class Repo:
        outputs = Outputs(data)

    return Repo()


def output_of(content: bytes, **more: Any) -> ResultOutput:
    kept = {
        "bytes": 5,
        "packed": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "object": git_blob(content),
        **more,
    }
    return ResultOutput(month="2026-11", stdout=KeptStream(**kept))


HELLO = gzip.compress(b"hello", mtime=0)


def test_what_has_the_digest_is_shown() -> None:
    repo = repo_with(HELLO)
    assert b"".join(c.data for c in kept_chunks(repo, output_of(HELLO))) == b"hello"
    assert repo.outputs.limit == len(HELLO), "no more than that is fetched"
    words, finding = check_output(repo, output_of(HELLO))
    assert (words, finding) == ("verified, on refs/disinto/logs/2026-11", None)


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (gzip.compress(b"other", mtime=0), {"sha256": "0" * 64}),
        (gzip.compress(b"x" * 100_000_000, mtime=0), {}),
        (b"not compressed", {}),
        (HELLO, {"bytes": 0, "sha256": "1" * 64}),
    ],
)
def test_nothing_else_is(data: bytes, more: dict[str, Any]) -> None:
    words, finding = check_output(repo_with(data), output_of(data, **more))
    assert words == "modified"
    assert finding is not None
    assert finding.kind is Kind.OUTPUT


def result_with(output: ResultOutput | None) -> Result:
    return Result(id="x", exit_code=0, timestamp="t", verdict=Verdict.SUCCEEDED, output=output)


def test_a_result_that_names_too_much_fetches_nothing() -> None:
    repo = repo_with(HELLO)
    words, finding = check_output(repo, output_of(HELLO, packed=PACKED_LIMIT + 1))
    assert "not fetched" in words
    assert finding is None
    assert not repo.outputs.limit


def test_why_there_is_none_is_told() -> None:
    repo = repo_with(None)
    gone = output_of(HELLO)
    assert "does not have object" in check_output(repo, gone)[0]
    shown = from_repository(result_with(gone), lambda: kept_chunks(repo, gone))
    assert shown.chunks is None
    assert "does not have object" in shown.source
    missing = ResultOutput(missing="the remote refused it")
    for result, words in (
        (result_with(None), "keeps none"),
        (result_with(missing), "keeps none: the remote refused it"),
    ):
        source = from_repository(result, lambda: iter(()))
        assert source.chunks is None
        assert words in source.source
    assert check_output(repo, missing) == ("not kept: the remote refused it", None)


def test_a_result_that_is_not_ours_shows_no_output() -> None:
    class Verifier:
        signs, answer = True, False
        error: Exception | None = None

        def can_prove(self) -> bool:
            return True

        def ours(self, data: bytes, *, action_id: str, blob: str | None) -> bool:
            assert (data, action_id, blob) == (b"{}", "x", None)
            if self.error:
                raise self.error
            return self.answer

    verifier, result = Verifier(), result_with(output_of(HELLO))
    assert "did not sign" in unproven(b"{}", result, verifier)
    verifier.error = Unavailable(Dependency.VAULT, "away")
    assert "cannot be checked" in unproven(b"{}", result, verifier)
    shown = from_repository(
        result, lambda: kept_chunks(repo_with(HELLO), output_of(HELLO)), unproven="it is not ours"
    )
    assert shown.chunks is None
    assert "it is not ours" in shown.source
    verifier.error, verifier.answer = None, True
    assert unproven(b"{}", result, verifier) == ""
    verifier.answer, verifier.signs = False, False
    assert unproven(b"{}", result, verifier) == ""
