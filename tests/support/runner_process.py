"""A runner as a process of its own, over a spool directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.model.payload import decode_outcome
from dispatcher.model.run import Outcome

SECRET = "s3cr3t/Wert+für'alle"


class Run:
    """One runner process over a spool folder of its own."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.spool = folder / "spool"
        self.spool.mkdir(mode=0o700)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", "dispatcher.runner", "--spool", self.spool, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "DISPATCHER_ONLY": "not-for-formulas", **(env or {})},
            start_new_session=True,
        )

    def feed(self, payload: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(payload)
        self.process.stdin.close()
        self.process.stdin = None

    def finish(self) -> Outcome:
        self.messages = b"".join(self.process.communicate(timeout=60))
        return decode_outcome((self.spool / "outcome.json").read_bytes())

    def log(self, stream: str = "stdout") -> str:
        return (self.spool / f"{stream}.log").read_text()

    def wait_for_log(self, text: str) -> None:
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.02)
        ):
            with attempt:
                assert text in self.log()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    runs: list[Run] = []

    def begin(payload: bytes, *arguments: str, **more: Any) -> Run:
        folder = tmp_path / f"run-{len(runs)}"
        folder.mkdir()
        run = Run(folder, *arguments, **more)
        runs.append(run)
        run.feed(payload)
        return run

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
