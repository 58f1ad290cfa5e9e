"""What commands of a deploy print, and leave running."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dispatcher.release.log import OUTPUT_LIMIT
from dispatcher.release.outcome import Outcome
from tests.support.release_stage import ReleaseStage

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def stage(tmp_path: Path) -> ReleaseStage:
    made = ReleaseStage(tmp_path)
    assert made.deploy().outcome == Outcome.DEPLOYED
    return made


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_daemon_ends_with_its_command(stage: ReleaseStage) -> None:
    """It has a session of its own, and the descriptor of the lock."""
    file = stage.root / "pid"
    stage.push({"smoke.sh": f"setsid sh -c 'echo $$ >{file}; exec sleep 600' >/dev/null 2>&1 &\nwhile ! test -s {file}; do sleep 0.01; done"})  # fmt: skip
    assert stage.deploy().outcome == Outcome.DEPLOYED
    assert not alive(int(file.read_text()))
    stage.push({"smoke.sh": "true"})
    assert stage.deploy().outcome == Outcome.DEPLOYED


def test_a_daemon_of_a_deploy_that_was_killed_ends(stage: ReleaseStage) -> None:
    """It holds nothing, not even the lock."""
    file = stage.root / "pid"
    os.mkfifo(stage.root / "fifo")
    daemon = (
        "import os, sys; os.closerange(0, 200)\n"
        "if os.fork() == 0:\n os.setsid()\n"
        " open(sys.argv[1], 'w').write(str(os.getpid()))\n os.execve('/bin/sleep', ['sleep', '600'], {})\n"
    )
    (stage.root / "daemon.py").write_text(daemon)
    started = f"{sys.executable} {stage.root}/daemon.py {file}"
    stage.push({"smoke.sh": f"{started}; while ! test -s {file}; do sleep 0.01; done; echo >{stage.root}/fifo; sleep 600"})  # fmt: skip
    child = os.fork()
    if not child:
        try:
            stage.deploy()
        finally:
            os._exit(77)
    (stage.root / "fifo").read_text()
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert alive(int(file.read_text()))
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    assert not alive(int(file.read_text()))


def test_endless_output(stage: ReleaseStage) -> None:
    """One line of 20 MB, and its end. Without a limit the time grows with its square."""
    size = 5 * OUTPUT_LIMIT
    stage.push({"smoke.sh": f"head -c {size} /dev/zero | tr '\\0' x; echo; echo the end; exit 5"})
    last = stage.deploy()
    assert "smoke: sh smoke.sh: exit code 5: the end" in last.message
    assert (stage.root / "logs" / "deploy.log").stat().st_size < 2 * OUTPUT_LIMIT
    assert "bytes of output are left out; it ends with:" in stage.log
    assert max(map(len, stage.log.splitlines())) < 100_000


@pytest.mark.parametrize(
    ("env", "printed"),
    [
        (b'KEY="first of the key\nsecond of the key"\n', ("second of the key",)),
        (b"# schl\xfcssel\nKEY=other-secret-here\n", ("other-secret-here",)),
        (b"KEY=one-part\\\n-and-another\n", ("one-part-and-another",)),
        (b"KEY=with\xe2\x80\xa8separator\n", ("with\u2028separator",)),
        (b"DATABASE_URL=postgresql://u:p4ss%2Fw0rd@h/db\n", ("p4ss%2Fw0rd",)),
    ],
)
def test_values_are_masked_as_systemd_reads_them(
    env: bytes, printed: tuple[str, ...], tmp_path: Path
) -> None:
    from dispatcher.release.log import secrets_in

    (tmp_path / "env").write_bytes(env)
    secrets = secrets_in([tmp_path / "env"])
    name = env.split(b"=")[0].split(b"\n")[-1].decode()
    assert {secrets.redact_text(text) for text in printed} == {f"[redacted:{name}]"}


def test_files_with_different_values_of_one_name(tmp_path: Path) -> None:
    from dispatcher.release.log import secrets_in

    for name, value in (("backend", "hunter2hunter2"), ("worker", "swordfish")):
        (tmp_path / name).write_text(f"PASSWORD={value}\n")
    secrets = secrets_in([tmp_path / "backend", tmp_path / "worker", tmp_path / "worker"])
    masked = secrets.redact_text("hunter2hunter2 swordfish")
    assert masked == "[redacted:PASSWORD] [redacted:PASSWORD (2)]"
