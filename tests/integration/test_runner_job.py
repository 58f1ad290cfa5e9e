"""The runner as the job of an engine: the payload in a file, output to its own streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.model.mounts import Mount
from dispatcher.model.payload import decode_outcome
from dispatcher.model.run import Outcome
from dispatcher.model.time_index import offset_since
from dispatcher.model.verdicts import Verdict
from tests.servers.grants import Minter, formula_ref
from tests.support.runner_process import SECRET

pytestmark = pytest.mark.needs("bao")


def job(
    tmp_path: Path, payload: bytes, *arguments: str, **more: Any
) -> tuple[Outcome, subprocess.CompletedProcess[bytes]]:
    (tmp_path / "payload").write_bytes(payload)
    done = subprocess.run(
        [
            sys.executable, "-m", "dispatcher.runner", "--payload", tmp_path / "payload",
            "--outcome", tmp_path / "outcome.json", *arguments,
        ],
        env={"PATH": os.environ["PATH"], "HOME": "/home/agent", "NOMAD_TASK_DIR": str(tmp_path)},
        check=False,
        timeout=60,
        **{"capture_output": True, **more},
    )  # fmt: skip
    return decode_outcome((tmp_path / "outcome.json").read_bytes()), done


def test_as_a_job(minter: Minter, tmp_path: Path) -> None:
    minter.put("TOKEN", SECRET)
    formula = 'echo "$HOME $TOKEN"; echo "$TOKEN" >&2; case $DISINTO_WORKDIR in $PWD) exit 4; esac'
    outcome, done = job(tmp_path, minter.payload(minter.spec(formula, secrets=("TOKEN",))))
    assert (outcome.exit_code, done.returncode) == (4, 4)
    assert done.stdout == b"/home/agent [redacted:TOKEN]\n"
    assert done.stderr == b"[redacted:TOKEN]\n"
    kept = ["outcome.json", "stderr.times", "stdout.times"]
    assert sorted(p.name for p in tmp_path.iterdir()) == kept


def test_the_times_of_a_jobs_output_count_what_the_runner_reports_itself(
    minter: Minter, tmp_path: Path
) -> None:
    spec = minter.spec("echo early >&2; sleep 60", timeout_s=3)
    outcome, done = job(tmp_path, minter.payload(spec))
    begin, message, end = done.stderr.partition(b"disinto: ended at its timeout")
    assert (begin, bool(message), end) == (b"early\n", True, b" of 3 s\n")
    index = (tmp_path / "stderr.times").read_bytes()
    assert offset_since(index, outcome.finished_at, size=len(done.stderr)) == len(begin)


def test_a_bad_payload_of_a_job_leaves_an_outcome(tmp_path: Path) -> None:
    outcome, done = job(tmp_path, b"")
    assert (outcome.verdict, done.returncode) == (Verdict.ERROR, 65)
    assert b"payload is incomplete" in done.stderr


def test_a_formula_from_the_mounted_ops_repo(minter: Minter, tmp_path: Path) -> None:
    repo = tmp_path / "ops"
    subprocess.run(["git", "init", "-q", repo], check=True)
    data = b"echo from the ops repo\n"
    written = subprocess.run(
        ["git", "-C", repo, "hash-object", "-w", "--stdin"],
        input=data,
        capture_output=True,
        check=True,
    )
    spec = minter.spec(data, mounts=(Mount.OPS_REPO,), formula_text=None)
    assert written.stdout.decode().strip() == spec.formula.blob
    outcome, done = job(tmp_path, minter.payload(spec), "--ops-repo", str(repo))
    assert (outcome.verdict, done.stdout) == (Verdict.SUCCEEDED, b"from the ops repo\n")
    unknown = replace(spec, formula=formula_ref(b"echo unknown"))
    outcome, _ = job(tmp_path, minter.payload(unknown), "--ops-repo", str(repo))
    assert (outcome.verdict, outcome.exit_code) == (Verdict.ERROR, 65)
    assert "is not in the ops repo" in outcome.error


def test_a_reader_that_stops_reading_does_not_stop_the_timeout(
    minter: Minter, tmp_path: Path
) -> None:
    spec = minter.spec("while :; do echo flood; done", timeout_s=1)
    (tmp_path / "payload").write_bytes(minter.payload(spec))
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "dispatcher.runner", "--payload", tmp_path / "payload",
         "--outcome", tmp_path / "outcome.json"],
        stdout=write_end, env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    os.close(write_end)
    assert process.wait(timeout=30) == 124
    os.close(read_end)
    assert json.loads((tmp_path / "outcome.json").read_text())["verdict"] == "timed_out"


@pytest.mark.parametrize(
    "arguments", [[], ["--what"], ["--outcome"], ["--spool", "x", "--lock-fd", "y"]]
)
def test_usage(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher.runner", *arguments], capture_output=True, check=False
    )
    assert done.returncode == 64
    assert b"usage:" in done.stderr
