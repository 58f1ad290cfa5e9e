"""The command as people run it: a process of its own, with what it said and how it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DISINTO = (sys.executable, "-m", "dispatcher")
TIMEOUT_S = 120


@dataclass(frozen=True, kw_only=True)
class Said:
    """One call's end."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def disinto(*words: str, env: Mapping[str, str], cwd: Path | None = None, stdin: str = "") -> Said:
    """Run a command to its end. No call may show a traceback."""
    done = subprocess.run(
        [*DISINTO, *words],
        env=dict(env),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Said(code=done.returncode, out=done.stdout, err=done.stderr)


@contextmanager
def started(
    *words: str, env: Mapping[str, str], cwd: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; killed at the end of the block if it has not ended."""
    process = subprocess.Popen(
        [*DISINTO, *words],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
