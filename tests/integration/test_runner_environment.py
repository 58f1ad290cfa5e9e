"""Secrets that are stored and cannot be given to a process: said before the formula starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.model.payload import decode_outcome
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from tests.servers.grants import Minter

pytestmark = pytest.mark.needs("bao")


def run(minter: Minter, folder: Path, *secrets: str) -> Outcome:
    spec = minter.spec("echo started", secrets=secrets)
    subprocess.run(
        [sys.executable, "-m", "dispatcher.runner", "--outcome", folder / "outcome.json"],
        input=minter.payload(spec),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return decode_outcome((folder / "outcome.json").read_bytes())


def test_one_that_is_too_large_for_a_variable(minter: Minter, tmp_path: Path) -> None:
    minter.put("LARGE", "x" * 131_072)
    minter.put("SMALL", "y")
    outcome = run(minter, tmp_path, "LARGE", "SMALL")
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert "LARGE: more than the 128 KiB" in outcome.error
    assert "SMALL" not in outcome.error


def test_many_that_are_too_large_together(minter: Minter, tmp_path: Path) -> None:
    names = [f"PART_{n}" for n in range(17)]
    for name in names:
        minter.put(name, "x" * 120_000)
    outcome = run(minter, tmp_path, *names)
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert "bytes of environment together" in outcome.error
    assert run(minter, tmp_path, *names[:2]).verdict is Verdict.SUCCEEDED
