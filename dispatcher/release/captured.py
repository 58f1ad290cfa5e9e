"""Runs a program that changes or queries this machine, and captures what it prints."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dispatcher.errors import PermanentError, reason_of

_TAIL = 500


def captured(
    command: Sequence[str],
    *,
    timeout_s: float,
    failure: type[PermanentError],
    name: str = "",
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; the caller judges its exit code.

    Args:
        timeout_s: seconds after which it is killed.
        failure: of what is raised.
        name: of the command in messages; by default the whole of it.
        cwd, environ: ours by default.

    Raises:
        failure: it could not be started, or did not end in time.
    """
    shown = name or " ".join(command)
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            _end(process)
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)
    except subprocess.TimeoutExpired:
        raise failure(f"{shown}: timed out after {timeout_s:g} s") from None
    except FileNotFoundError as error:
        if error.filename != command[0]:  # cwd, which is missing
            raise failure(f"{shown}: {error.filename}: {reason_of(error)}") from None
        remedy = "Install it; docs/releases.md lists the packages."
        raise failure(f"{command[0]} is not installed", remedy=remedy) from None
    except OSError as error:
        raise failure(f"{shown}: {reason_of(error)}") from None


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it. What sudo runs is root's: it cannot be killed, and is not waited for."""
    with suppress(PermissionError):
        process.kill()
        process.wait()


def ended_wrongly(done: subprocess.CompletedProcess[str]) -> str:
    """The command, its exit code other than 0, and the end of what it printed."""
    output = (done.stderr.strip() or done.stdout.strip())[-_TAIL:]
    return f"{' '.join(done.args)}: exit code {done.returncode}: {output}"
