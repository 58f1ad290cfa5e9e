"""On Nomad a formula may write where its runner writes: what it leaves there is not believed."""

from __future__ import annotations

import json

import pytest

from dispatcher.engines.nomad.api.shapes import FileInfo
from dispatcher.engines.nomad.ended_runs import OUTCOME_WAIT_S
from dispatcher.model.verdicts import Verdict
from tests.support.nomad_stage import NomadStage

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


@pytest.mark.parametrize(
    "left",
    ["mkfifo outcome.json", "mknod outcome.json c 1 5", "mkdir outcome.json"],
    ids=["fifo", "device", "directory"],
)
def test_what_cannot_be_read_keeps_nobody_waiting(on_raw_exec: NomadStage, left: str) -> None:
    """Nomad's client waits forever for the writer of a FIFO, in ``fs/stat`` as in ``fs/stream``."""
    there = AS_RUNNER.partition(";")[0]
    trick = f"{there}; rm -f outcome.json; {left}; kill -9 $PPID\n"
    odd = on_raw_exec.submit(on_raw_exec.minter.spec(trick, outcome_key="k"))
    healthy = on_raw_exec.submit(on_raw_exec.minter.spec("true\n", outcome_key="h"))
    outcome = on_raw_exec.end(odd).outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 137)
    assert "not written by this run's runner" in outcome.error
    beside = on_raw_exec.end(healthy).outcome
    assert beside is not None
    assert beside.verdict is Verdict.SUCCEEDED


def test_a_file_that_is_swapped_for_a_fifo_keeps_nobody_waiting(
    on_raw_exec: NomadStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that the formula left swaps it between listing and reading."""
    there = AS_RUNNER.partition(";")[0]
    trick = f"{there}; rm -f outcome.json; mkfifo outcome.json; kill -9 $PPID\n"
    odd = on_raw_exec.submit(on_raw_exec.minter.spec(trick, outcome_key="k"))
    healthy = on_raw_exec.submit(on_raw_exec.minter.spec("true\n", outcome_key="h"))
    regular = FileInfo(Name="outcome.json", FileMode="-rw-r--r--")
    monkeypatch.setattr(on_raw_exec.wire, "file", lambda *_args, **_more: regular)
    on_raw_exec.until(odd, lambda seen: "still being read" in seen.reason)
    beside = on_raw_exec.end(healthy).outcome
    assert beside is not None
    assert beside.verdict is Verdict.SUCCEEDED
    on_raw_exec.until(odd, lambda seen: "cannot be read yet" in seen.reason)
    on_raw_exec.ahead_s += OUTCOME_WAIT_S
    outcome = on_raw_exec.end(odd).outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 137)
