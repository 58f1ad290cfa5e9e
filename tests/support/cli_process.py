"""The command as people run it: a process of its own, with what it said and how it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from tests.support.fork_server import ForkedProcess, can_fork

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


def disinto(
    *words: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: str = "",
    timeout_s: float = TIMEOUT_S,
) -> Said:
    """Run a command to its end. No call may show a traceback."""
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        process = _process(words, env, cwd, (given.fileno(), out.fileno(), err.fileno()))
        try:
            code = process.wait(timeout_s)
        except BaseException:
            process.kill()
            raise
        said = Said(code=code, out=_all_of(out), err=_all_of(err))
    assert "Traceback" not in said.out + said.err, said.err
    return said


def _process(
    words: Sequence[str], env: Mapping[str, str], cwd: Path | None, files: tuple[int, int, int]
) -> ForkedProcess | subprocess.Popen[bytes]:
    if can_fork(env):
        return ForkedProcess(words, env=env, cwd=cwd, files=files)
    stdin, stdout, stderr = files
    return subprocess.Popen(
        [*DISINTO, *words], env=dict(env), cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr
    )


def _all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


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
