"""Whose process it is: after the clock was set, in another PID namespace, and without an
environment; and what comes of a runner that did not come to begin.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.engines.base import Stream
from dispatcher.engines.local import endings, monitor
from dispatcher.engines.local import scheduler as local_module
from dispatcher.engines.local.launch import command
from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.engines.local.spool import Spool
from dispatcher.errors import Misconfigured, Unavailable
from dispatcher.host.process_record import decode_record, encode_record, own_record
from dispatcher.model.payload import encode_spec
from dispatcher.model.run import Claim, Observation, Outcome, RunSpec, RunState
from dispatcher.model.verdicts import Verdict
from tests.contract.scheduler import eventually, log
from tests.servers.grants import Minter
from tests.support.local_stage import Bench, make_settings
from tests.support.processes import alive

pytestmark = pytest.mark.needs("bao")


@pytest.fixture
def bench(minter: Minter, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(minter, make_settings(tmp_path, bubblewrap=False))
    yield bench
    runs = bench.settings.state_dir / "runs"
    for folder in runs.iterdir() if runs.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            pid = decode_record((folder / "lock").read_bytes()).pid
            if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    # pytest itself cannot remove a deep tree that a failed test leaves.
    subprocess.run(["rm", "-rf", str(runs)], check=False)


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "300"])
    yield process
    process.kill()
    process.wait()


# The clock


def test_a_clock_that_was_set_kills_no_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run began years ago, by the clock of the machine; a dispatcher that was started anew
    still gives it its time.
    """
    monkeypatch.setattr(monitor, "_LOOK_S", 0.02)
    claim = bench.begin("echo begun; sleep 2; exit 5", timeout_s=60)
    bench.output(claim, b"begun\n")
    os.utime(bench.spool(claim).path / "lock", (1.0, 1.0))
    outcome = bench.end(claim, LocalScheduler(bench.settings)).outcome
    assert outcome
    assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 5)


def test_the_time_before_a_restart_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The age is that of the runner: a hanging one is not given its time anew."""
    monkeypatch.setattr(monitor, "_LOOK_S", 0.02)
    monkeypatch.setattr(local_module, "SLACK_S", 0.0)
    with monkeypatch.context() as dead:  # the dispatcher that started it does not see its end
        dead.setattr(LocalScheduler, "_monitor_runner", lambda *_a, **_k: None)
        claim = bench.begin("echo begun; sleep 300", timeout_s=3600)
    bench.output(claim, b"begun\n")
    lock = bench.spool(claim).path / "lock"
    record = decode_record(lock.read_bytes())
    os.kill(record.pid, signal.SIGSTOP)
    lock.write_bytes(encode_record(replace(record, monotonic=record.monotonic - 3602)))
    outcome = bench.end(claim, LocalScheduler(bench.settings)).outcome
    assert outcome
    assert outcome.verdict is Verdict.TIMED_OUT


# Process numbers


def test_a_number_that_is_another_process_is_not_signalled(
    bench: Bench, innocent: subprocess.Popen[bytes]
) -> None:
    """Not even while the run lives."""
    claim = bench.begin("echo begun; sleep 300")
    bench.output(claim, b"begun\n")
    lock = bench.spool(claim).path / "lock"
    right = lock.read_bytes()
    other = LocalScheduler(bench.settings)
    for wrong in (
        b"%d\n" % innocent.pid,
        encode_record(replace(own_record(), pid=innocent.pid)),
    ):
        lock.write_bytes(wrong)
        other.cancel(claim, reason="x")
        assert LocalScheduler(bench.settings).observe([claim])[claim.key].state is RunState.RUNNING
    lock.write_bytes(encode_record(replace(own_record(), pid=innocent.pid, namespace="pid:[1]")))
    with pytest.raises(Misconfigured, match="another PID namespace"):
        other.cancel(claim, reason="x")
    assert innocent.poll() is None
    lock.write_bytes(right)
    other.cancel(claim, reason="enough")
    outcome = bench.end(claim).outcome
    assert outcome
    assert (outcome.verdict, outcome.error) == (Verdict.CANCELLED, "enough")


IN_ANOTHER_NAMESPACE = """
    import json, subprocess, sys
    from pathlib import Path
    from dispatcher.errors import Misconfigured
    from dispatcher.model.payload import decode_spec
    from dispatcher.model.run import Claim, Phase, RunState
    from dispatcher.engines.local.scheduler import LocalScheduler
    from dispatcher.settings import Settings, settings_model
    told = json.load(sys.stdin)
    spec = decode_spec(told["spec"])
    claim = Claim(key=spec.key, phase=Phase.SUBMITTED, commit="")
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(told["pid"] - 1))
    innocent = subprocess.Popen(["sleep", "300"])
    assert innocent.pid == told["pid"], innocent.pid
    scheduler = LocalScheduler(settings_model().model_validate_json(told["settings"]))
    assert scheduler.observe([claim])[claim.key].state is RunState.RUNNING
    try:
        scheduler.cancel(claim, reason="from elsewhere")
    except Misconfigured as refused:
        print(refused)
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()
    for _ in range(20):
        assert scheduler.observe([claim])[claim.key].state is RunState.RUNNING
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may make the namespace")
def test_another_pid_namespace(bench: Bench) -> None:
    """For example ``disinto cancel`` in another container with the same state directory, where
    the runner's number is another process.
    """
    claim = bench.begin("echo begun; sleep 300")
    bench.output(claim, b"begun\n")
    told = {
        "spec": encode_spec(replace(bench.minter.spec("true"), key=claim.key)),
        "pid": bench.runner(claim),
        "settings": bench.settings.model_dump_json(),
    }
    done = subprocess.run(
        [
            "unshare",
            "-pf",
            "--mount-proc",
            sys.executable,
            "-c",
            textwrap.dedent(IN_ANOTHER_NAMESPACE),
        ],
        input=json.dumps(told).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"another PID namespace" in done.stdout
    assert bench.scheduler.observe([claim])[claim.key].state is RunState.RUNNING
    bench.scheduler.cancel(claim, reason="enough")
    outcome = bench.end(claim).outcome
    assert outcome
    assert outcome.verdict is Verdict.CANCELLED


def test_processes_that_cleared_their_environment_are_ended(bench: Bench) -> None:
    """Also those of a runner that was killed, without bubblewrap."""
    claim = bench.begin(
        "env -i /usr/bin/setsid /bin/bash -c 'echo \"pid $$\"; exec /bin/sleep 300' & sleep 300"
    )
    bench.output(claim, b"pid ")
    pid = int(
        eventually(lambda: log(bench.scheduler, claim, Stream.STDOUT).split()[1:2] or None)[0]
    )
    assert alive(pid)
    os.kill(bench.runner(claim), signal.SIGKILL)
    outcome = bench.end(claim).outcome
    assert outcome
    assert outcome.verdict is Verdict.LOST
    assert not alive(pid)


# Runners that did not come to begin


def instead(script: str) -> tuple[str, ...]:
    return ("/bin/bash", "-c", script, "runner")


def gone(bench: Bench, claim: Claim) -> Observation | None:
    """What is seen of a run once its runner is gone."""

    def ended() -> list[Observation | None] | None:
        seen = bench.scheduler.observe([claim]).get(claim.key)
        return None if seen is not None and seen.state is RunState.RUNNING else [seen]

    return eventually(ended)[0]


def never_began(bench: Bench, spec: RunSpec) -> str:
    """Submit until there is an outcome; its error."""
    for attempt in range(endings.STARTS):
        claim = bench.submit(spec, bench.minter.mint())
        seen = gone(bench, claim)
        if attempt < endings.STARTS - 1:
            assert seen is None
    assert seen is not None
    outcome = seen.outcome
    assert outcome
    assert outcome.verdict is Verdict.ERROR
    assert not outcome.formula_started
    return outcome.error


def test_a_runner_killed_before_it_began_is_started_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = bench.minter.spec("echo ran")
    with monkeypatch.context() as broken:
        killed = instead("kill -KILL $$")
        broken.setattr("dispatcher.engines.local.launch.command", lambda: killed)
        claim = bench.submit(spec, bench.minter.mint())
        assert gone(bench, claim) is None
    outcome = bench.end(bench.submit(spec, bench.minter.mint())).outcome
    assert outcome
    assert outcome.logs == "ran\n"


def test_it_is_not_started_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = instead("kill -KILL $$")
    monkeypatch.setattr("dispatcher.engines.local.launch.command", lambda: killed)
    error = never_began(bench, bench.minter.spec("echo ran"))
    assert error.startswith("the runner was killed by signal 9 before it began: ")
    assert "check memory and disk space" in error


def test_a_runner_that_cannot_write_leaves_its_grant_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: it may be started again, and in the end there is a reason."""
    words = shlex.join(command())
    unable = instead(f'ulimit -f 0; exec {words} "$@"')
    monkeypatch.setattr("dispatcher.engines.local.launch.command", lambda: unable)
    error = never_began(bench, bench.minter.spec("echo ran"))
    assert error.startswith("the runner exited with 75 before it began: ")
    assert "check memory and disk space" in error


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may mount")
def test_no_runner_is_started_on_a_full_disk(minter: Minter, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(state)], check=True)
    try:
        bench = Bench(minter, make_settings(tmp_path, bubblewrap=False))
        filler = state / "filler"
        filler.write_bytes(b"x" * (1024 * 1024 - 32 * 1024))
        spec = minter.spec("echo ran")
        with pytest.raises(Unavailable, match="No space left on device"):
            bench.submit(spec, minter.mint())
        assert bench.scheduler.observe([]) == {}
        filler.unlink()
        claim = bench.submit(spec, minter.mint())
        outcome = bench.end(claim).outcome
        assert outcome
        assert outcome.logs == "ran\n"
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)


def test_a_run_whose_lock_cannot_be_read_hides_no_other(bench: Bench) -> None:
    """Without a sandbox a formula may put anything there. Its run is not unknown for that."""
    broken, other = bench.begin("true"), bench.begin("true")
    bench.end(broken)
    bench.end(other)
    (bench.spool(broken).path / "lock").unlink()
    (bench.spool(broken).path / "lock").mkdir()
    seen = LocalScheduler(bench.settings).observe([broken, other])
    assert seen[other.key].state is RunState.ENDED
    assert seen[broken.key].state is RunState.RUNNING
    assert "cannot be read: Is a directory" in seen[broken.key].reason


def test_a_defect_met_in_one_run_hides_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, other = bench.begin("true"), bench.begin("true")
    bench.end(broken)
    bench.end(other)
    read = Spool.outcome

    def outcome(spool: Spool) -> Outcome | None:
        if spool.token == broken.key.token:
            raise RecursionError
        return read(spool)

    monkeypatch.setattr(Spool, "outcome", outcome)
    scheduler = LocalScheduler(bench.settings)
    for _ in range(2):
        seen = scheduler.observe([broken, other])
        assert seen[other.key].state is RunState.ENDED
        assert seen[broken.key].state is RunState.RUNNING
        assert "RecursionError" in seen[broken.key].reason
    monkeypatch.undo()
    assert scheduler.observe([broken])[broken.key].state is RunState.ENDED


def test_too_few_descriptors_are_an_outage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = bench.begin("true")
    bench.end(claim)

    def none_left(_spool: Spool) -> bool:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Spool, "alive", none_left)
    with pytest.raises(Unavailable, match="runs cannot be observed"):
        LocalScheduler(bench.settings).observe([claim])


@pytest.mark.parametrize("killed", [False, True])
def test_a_deep_tree_costs_no_run_its_end(killed: bool, bench: Bench) -> None:
    """Also where the runner was killed, so that the dispatcher removes what it left."""
    deep = (
        f'{sys.executable} -c \'import os; [(os.mkdir("d"), os.chdir("d")) for _ in range(3000)]\''
    )
    if not killed:
        outcome = bench.end(bench.begin(f"{deep}; echo made")).outcome
        assert outcome
        assert (outcome.verdict, outcome.logs) == (Verdict.SUCCEEDED, "made\n")
        return
    claim, other = bench.begin(f"{deep}; echo made; sleep 300"), bench.begin("true")
    bench.output(claim, b"made\n")
    os.kill(bench.runner(claim), signal.SIGKILL)
    outcome = bench.end(claim).outcome
    assert outcome
    assert outcome.verdict is Verdict.LOST
    assert not bench.spool(claim).private.exists()
    assert bench.end(other).outcome


# Logs


def test_logs_on_another_file_system(bench: Bench) -> None:
    state = bench.settings.state_dir
    with tempfile.TemporaryDirectory(dir="/dev/shm") as kept:
        state.mkdir()
        if Path(kept).stat().st_dev == state.stat().st_dev:
            pytest.skip("/dev/shm is no other file system")
        (state / "logs").symlink_to(kept)
        claim = bench.begin("echo kept")
        bench.end(claim)
        bench.scheduler.forget(claim)
        assert not bench.spool(claim).path.exists()
        assert log(bench.scheduler, claim, Stream.STDOUT) == b"kept\n"
        assert sorted(file.suffix for file in Path(kept).iterdir()) == [".log", ".times"]


def test_logs_that_cannot_be_kept_hold_up_nothing(bench: Bench) -> None:
    state = bench.settings.state_dir
    state.mkdir()
    (state / "logs").write_text("no directory")
    claim = bench.begin("echo dropped")
    bench.end(claim)
    bench.scheduler.forget(claim)
    assert not bench.spool(claim).path.exists()
