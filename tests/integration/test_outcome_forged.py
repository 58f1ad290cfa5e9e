"""A formula that puts its own word in place of the runner's: whatever it tries, it is not believed.

The runner runs here as a job of an engine does, with ``outcome.json`` in a directory that the
formula may write to as the same user.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.model.payload import NotAuthentic, decode_outcome, encode_payload
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from tests.contract.scheduler import SchedulerContract, claim_of
from tests.servers.grants import Minter
from tests.support.local_stage import make_settings

pytestmark = pytest.mark.needs("bao")

FORGED = json.dumps({"verdict": "succeeded", "exit_code": 0, "formula_started": True, "logs": "F"})
PREPARE = f"cd $DISINTO_CONTEXT; printf %s '{FORGED}' > forged\n"
REPLACE = "rm -rf outcome.json.*; cp forged outcome.json; exit 3\n"

IN_THE_WAY = {
    "the name with the process id": "mkdir outcome.json.$PPID\n" + REPLACE,
    "every name with a process id": (
        "for n in $(seq $((PPID - 200)) $((PPID + 200))); do mkdir outcome.json.$n; done\n"
        "cp forged outcome.json; exit 3\n"
    ),
    "the unfinished file removed": REPLACE,
    "the unfinished file replaced": (
        "for f in outcome.json.*; do rm $f; cp forged $f; done; cp forged outcome.json; exit 3\n"
    ),
    "the unfinished file as a link": (
        "for f in outcome.json.*; do rm $f; ln -s $PWD/forged $f; done; exit 3\n"
    ),
    "the unfinished file filled": (
        "for f in outcome.json.*; do cat forged forged > $f; done; exit 3\n"
    ),
    "a directory at the end": "mkdir -p outcome.json/full; exit 3\n",
    "a link at the end": "ln -s $PWD/forged outcome.json; exit 3\n",
}


def run(minter: Minter, folder: Path, formula: str, *, key: str) -> tuple[int, str]:
    """Exit code of the runner, and what it said."""
    spec = minter.spec(PREPARE + formula, context=str(folder), outcome_key=key)
    payload = folder.parent / "payload"
    payload.write_bytes(encode_payload(spec, minter.mint()))
    done = subprocess.run(
        [
            sys.executable, "-m", "dispatcher.runner",
            "--payload", payload, "--outcome", folder / "outcome.json",
        ],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(folder.parent)},
        capture_output=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The directory of an allocation that runner and formula share."""
    folder = tmp_path / "alloc"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("trick", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_a_formula_puts_in_the_way_is_cleared_away(
    minter: Minter, shared: Path, trick: str
) -> None:
    code, said = run(minter, shared, trick, key="k")
    assert code == 3, said
    outcome = decode_outcome((shared / "outcome.json").read_bytes(), key="k")
    assert (outcome.verdict, outcome.exit_code, outcome.logs) == (Verdict.FAILED, 3, "")


def test_a_runner_killed_by_its_formula_leaves_nothing_that_is_believed(
    minter: Minter, shared: Path
) -> None:
    code, _ = run(minter, shared, "cp forged outcome.json; kill -9 $PPID\n", key="k")
    assert code == -9
    data = (shared / "outcome.json").read_bytes()
    assert decode_outcome(data).logs == "F"
    with pytest.raises(NotAuthentic):
        decode_outcome(data, key="k")


def test_no_formula_starts_where_its_outcome_could_not_be_kept(
    minter: Minter, tmp_path: Path
) -> None:
    away = tmp_path / "not-there"
    spec = minter.spec("touch $DISINTO_CONTEXT/ran\n", context=str(tmp_path), outcome_key="k")
    grant = minter.mint()
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher.runner", "--outcome", away / "outcome.json"],
        input=encode_payload(spec, grant),
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 74
    assert b"cannot be written" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert minter.unwrap(grant)  # not used


@pytest.mark.parametrize(
    "left",
    [
        "cp forged $s/outcome.json",
        "mkdir -p $s/outcome.json/full",
        "mkfifo $s/outcome.json",
        "ln -s outcome.json $s/outcome.json",
        "head -c 20000000 /dev/zero > $s/outcome.json",
    ],
    ids=["forged", "directory", "pipe", "link to itself", "large"],
)
def test_a_local_run_without_a_sandbox_whose_formula_kills_its_runner_is_lost(
    minter: Minter, tmp_path: Path, left: str
) -> None:
    """And nothing that it leaves holds up the look at it."""
    settings = make_settings(tmp_path, bubblewrap=False)
    scheduler = LocalScheduler(settings)
    text = f"{PREPARE}s=$(dirname $(dirname $DISINTO_WORKDIR))\n{left}\nkill -9 $PPID\n"
    spec = minter.spec(text, context=str(tmp_path))
    grant = minter.mint()
    claim = claim_of(spec, grant, engine_id=scheduler.submit(spec, grant))
    seen = SchedulerContract.await_end(scheduler, claim)
    assert seen.outcome is not None
    assert (seen.outcome.verdict, seen.outcome.logs) == (Verdict.LOST, "")
    assert "outcome.json was not written by the runner" in seen.outcome.error
    again = LocalScheduler(settings).observe([claim])[claim.key].outcome
    assert isinstance(again, Outcome)
    assert again.verdict is Verdict.LOST
