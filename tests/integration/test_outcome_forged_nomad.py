"""On Nomad a formula may write where its runner writes: what it leaves there is not believed."""

from __future__ import annotations

import json

import pytest

from dispatcher.run import Verdict
from tests.nomad_stage import NomadStage

pytestmark = pytest.mark.needs("bao", "nomad")

FORGED = json.dumps({"verdict": "succeeded", "exit_code": 0, "formula_started": True, "logs": "F"})
AS_RUNNER = f"cd $(dirname $(dirname $TMPDIR))/../../alloc; printf %s '{FORGED}' > outcome.json\n"


def test_a_forged_outcome_of_a_killed_runner(on_raw_exec: NomadStage) -> None:
    spec = on_raw_exec.minter.spec(AS_RUNNER + "kill -9 $PPID\n", outcome_key="k")
    outcome = on_raw_exec.end(on_raw_exec.submit(spec)).outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.exit_code, outcome.logs) == (Verdict.FAILED, 137, "")
    assert "not written by this run's runner" in outcome.error


def test_a_link_out_of_the_allocation_holds_up_no_look(on_raw_exec: NomadStage) -> None:
    link = "rm outcome.json; ln -s /etc/hostname outcome.json; kill -9 $PPID\n"
    spec = on_raw_exec.minter.spec(AS_RUNNER + link, outcome_key="k")
    outcome = on_raw_exec.end(on_raw_exec.submit(spec)).outcome
    assert outcome is not None
    assert outcome.verdict is Verdict.FAILED
    assert "not written by this run's runner" in outcome.error


def test_the_runner_s_word_outlives_what_is_put_in_its_way(on_raw_exec: NomadStage) -> None:
    trick = "for n in $(seq 1 $((PPID + 50))); do mkdir outcome.json.$n; done; exit 3\n"
    spec = on_raw_exec.minter.spec(AS_RUNNER + trick, outcome_key="k")
    outcome = on_raw_exec.end(on_raw_exec.submit(spec)).outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.exit_code, outcome.error) == (Verdict.FAILED, 3, "")
