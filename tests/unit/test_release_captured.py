"""Programs that a release runs for what they print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.errors import PermanentError
from dispatcher.release.captured import captured, ended_wrongly
from dispatcher.release.commands import CommandFailed, base_environment
from dispatcher.release.system import SystemFailed
from dispatcher.release.units import UnitFailed

FAILURES = [CommandFailed, SystemFailed, UnitFailed]


def test_what_a_program_prints_is_captured_apart() -> None:
    done = captured(
        ["sh", "-c", "pwd; echo $A >&2; exit 3"],
        timeout_s=60,
        failure=UnitFailed,
        cwd=Path("/"),
        environ={"A": "x", "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "/\n", "x\n")
    assert ended_wrongly(done).endswith(": exit code 3: x")


@pytest.mark.parametrize("failure", FAILURES)
def test_what_cannot_run_is_an_error_of_whoever_asked(
    failure: type[PermanentError], tmp_path: Path
) -> None:
    with pytest.raises(failure, match="no-such-program is not installed") as raised:
        captured(["no-such-program"], timeout_s=60, failure=failure)
    assert "Install it" in (raised.value.remedy or "")
    absent = tmp_path / "absent"
    with pytest.raises(failure, match=f"asks: {absent}: No such file or directory"):
        captured([sys.executable], timeout_s=60, failure=failure, name="asks", cwd=absent)
    with pytest.raises(failure, match=r"waits: timed out after 0.01 s"):
        captured(["sleep", "600"], timeout_s=0.01, failure=failure, name="waits")


def test_what_is_not_a_program_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UnitFailed, match=r"file: [Pp]ermission denied"):
        captured([str(file)], timeout_s=60, failure=UnitFailed)


def test_programs_beside_disinto_are_found_by_whoever_deploys_by_hand() -> None:
    """Root's and sudo's PATH has no directory of uv, which the unit's has."""
    beside = str(Path(sys.executable).parent)
    assert base_environment({"PATH": "/usr/bin"})["PATH"] == f"{beside}:/usr/bin"


def test_a_program_that_cannot_be_killed_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As sudo, which runs as root."""

    def refuse(_: object) -> None:
        raise PermissionError

    file = tmp_path / "pid"
    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "kill", refuse)
        with pytest.raises(UnitFailed, match=r"timed out after 0\.2 s"):
            captured(
                ["sh", "-c", f"echo $$ >{file}; exec sleep 600"], timeout_s=0.2, failure=UnitFailed
            )
    pid = int(file.read_text())
    os.kill(pid, 9)  # it still runs: nobody has waited for its end
    os.waitpid(pid, 0)
