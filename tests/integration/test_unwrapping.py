"""A wrapping token that is not valid any more: taken by somebody, or gone with all of Vault."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.loop.unwrapping import with_cause
from dispatcher.model.payload import WRAPPING_GONE, decode_outcome, encode_payload
from dispatcher.model.run import Claim, Outcome, Phase, RunSpec, WrappedGrant
from dispatcher.model.verdicts import Verdict
from tests.servers import bao
from tests.servers.grants import Minter
from tests.support.vault_stage import Stage, stage

pytestmark = pytest.mark.needs("bao")


@pytest.fixture
def own() -> Iterator[Stage]:
    """A server of this test's own, and an installation on it."""
    with bao.serve() as server, stage(server) as made:
        yield made


def minted(own: Stage) -> tuple[RunSpec, WrappedGrant, Claim]:
    spec = Minter(bao=own.server).spec("echo started")
    wrapped = own.grants().mint(spec.key, (), lifetime_s=60)
    claim = Claim(key=spec.key, phase=Phase.SUBMITTED, commit="c", grant=wrapped.grant)
    return spec, wrapped, claim


def run(spec: RunSpec, wrapped: WrappedGrant, folder: Path) -> Outcome:
    subprocess.run(
        [sys.executable, "-m", "dispatcher.runner", "--outcome", folder / "outcome.json"],
        input=encode_payload(spec, wrapped),
        capture_output=True,
        timeout=90,
        check=False,
    )
    outcome = decode_outcome((folder / "outcome.json").read_bytes())
    assert outcome.error.startswith(WRAPPING_GONE)
    return outcome


def test_one_that_somebody_else_unwrapped_is_an_interception(own: Stage, tmp_path: Path) -> None:
    spec, wrapped, claim = minted(own)
    own.unwrap(wrapped)
    told = with_cause(run(spec, wrapped, tmp_path), claim, own.grants())
    assert "possible interception: the grant inside is alive" in told.error


def test_one_of_a_run_that_was_given_up_is_none(own: Stage, tmp_path: Path) -> None:
    spec, wrapped, claim = minted(own)
    own.grants().revoke(wrapped.grant)
    told = with_cause(run(spec, wrapped, tmp_path), claim, own.grants())
    assert "interception" not in told.error
    assert "Vault does not have the grant inside either" in told.error


def test_a_vault_that_restarted_empty_is_no_interception(own: Stage, tmp_path: Path) -> None:
    spec, wrapped, claim = minted(own)
    with bao.serve() as empty, stage(empty) as again:
        spec = Minter(bao=empty).spec("echo started", key=spec.key)
        told = with_cause(run(spec, wrapped, tmp_path), claim, again.grants())
    assert "interception" not in told.error
    assert "restarted empty" in told.error


def test_what_cannot_be_asked_is_said(own: Stage, tmp_path: Path) -> None:
    spec, wrapped, claim = minted(own)
    own.unwrap(wrapped)
    outcome = run(spec, wrapped, tmp_path)
    grants = own.grants("s.unknown-to-this-vault")  # the login went with the rest
    told = with_cause(outcome, claim, grants)
    assert "possible interception, or Vault has lost its data" in told.error


def test_other_outcomes_ask_nothing(own: Stage) -> None:
    _, _, claim = minted(own)
    grants = own.grants("s.unknown-to-this-vault")
    plain = Outcome(verdict=Verdict.ERROR, exit_code=70, error="something else")
    assert with_cause(plain, claim, grants) is plain
