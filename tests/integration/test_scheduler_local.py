"""The local scheduler: the contract, with and without bubblewrap, and what is its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dispatcher.engines.base import Stream
from dispatcher.engines.local import output
from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.model.payload import encode_payload, encode_spec
from dispatcher.model.run import FormulaKind, RunState
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import AgentSettings
from tests.contract.runs import claim_of
from tests.contract.scheduler import SchedulerContract, log
from tests.servers.grants import Minter
from tests.support.local_stage import Bench, bench, make_settings, nothing_left

__all__ = ["bench", "nothing_left"]

pytestmark = pytest.mark.needs("bao")


class TestBare(SchedulerContract):
    """Formulas as plain processes."""

    @pytest.fixture
    def scheduler(self, tmp_path: Path) -> LocalScheduler:
        return LocalScheduler(make_settings(tmp_path, bubblewrap=False))


@pytest.mark.needs("bwrap")
class TestSandboxed(SchedulerContract):
    """Formulas in bubblewrap."""

    @pytest.fixture
    def scheduler(self, tmp_path: Path) -> LocalScheduler:
        return LocalScheduler(make_settings(tmp_path))


def test_the_end_of_a_run_wakes(bench: Bench) -> None:
    claim = bench.begin("true")
    assert bench.woken.wait(30)
    assert bench.scheduler.observe([claim])[claim.key].state is RunState.ENDED


def test_a_run_outlives_the_dispatcher(bench: Bench, tmp_path: Path) -> None:
    """Submitted by a process that is killed at once, picked up by another."""
    go = tmp_path / "state" / "go"
    spec = bench.minter.spec("echo begun; sleep 1; exit 5")
    grant = bench.minter.mint()
    script = """
        import json, sys, os, signal
        from pathlib import Path
        from dispatcher.model.payload import decode_spec
        from dispatcher.model.run import Grant, WrappedGrant
        from dispatcher.engines.local.scheduler import LocalScheduler
        from dispatcher.settings import Settings, settings_model
        told = json.load(sys.stdin)
        grant = WrappedGrant(
            grant=Grant(wrapping_accessor="", accessor=""), token=told["token"],
            creation_path=told["path"],
        )
        settings = settings_model().model_validate_json(told["settings"])
        LocalScheduler(settings).submit(decode_spec(told["spec"]), grant)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    told = {
        "token": grant.token,
        "path": grant.creation_path,
        "settings": bench.settings.model_dump_json(),
        "spec": encode_spec(spec),
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        input=json.dumps(told).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    claim = claim_of(spec, grant)
    assert bench.scheduler.observe([claim])[claim.key].state is RunState.RUNNING
    assert bench.scheduler.submit(spec, bench.minter.mint()) == claim.key.token
    seen = bench.end(claim)
    assert seen.outcome
    assert (seen.outcome.exit_code, seen.outcome.logs) == (5, "begun\n")
    assert bench.woken.wait(10)
    assert not go.exists()


def test_another_process_sees_reads_and_cancels(bench: Bench) -> None:
    claim = bench.begin("echo begun; sleep 300")
    bench.output(claim, b"begun\n")
    other = LocalScheduler(bench.settings)
    assert other.observe([claim])[claim.key].state is RunState.RUNNING
    assert log(other, claim, Stream.STDOUT) == b"begun\n"
    other.cancel(claim, reason="from elsewhere")
    for scheduler in (bench.scheduler, other):
        outcome = bench.end(claim, scheduler).outcome
        assert outcome
        assert (outcome.verdict, outcome.error) == (Verdict.CANCELLED, "from elsewhere")


def test_no_credential_at_rest(bench: Bench) -> None:
    bench.minter.put("TOKEN", "the-secret-value-itself")
    spec = bench.minter.spec("echo begun; sleep 300", secrets=("TOKEN",))
    grant = bench.minter.mint("TOKEN")
    claim = bench.submit(spec, grant)
    bench.output(claim, b"begun\n")
    planted = [grant.token.encode(), b"the-secret-value-itself"]
    pid = bench.runner(claim)
    places = [p for p in bench.settings.state_dir.rglob("*") if p.is_file()]
    places.append(Path(f"/proc/{pid}/cmdline"))
    with contextlib.suppress(PermissionError):  # only root may read it
        Path(f"/proc/{pid}/environ").read_bytes()
        places.append(Path(f"/proc/{pid}/environ"))
    found = [str(p) for p in places for s in planted if s in p.read_bytes()]
    assert found == []
    assert bench.spool(claim).path.stat().st_mode & 0o777 == 0o700
    bench.scheduler.cancel(claim, reason="enough")
    bench.end(claim)


def test_logs_stay_for_their_time(bench: Bench) -> None:
    claim = bench.begin("echo kept; echo also >&2")
    bench.end(claim)
    bench.scheduler.forget(claim)
    assert not bench.spool(claim).path.exists()
    assert log(bench.scheduler, claim, Stream.STDOUT) == b"kept\n"
    assert b"".join(c.data for c in bench.scheduler.logs(claim, follow=True)) == b"kept\nalso\n"
    kept = bench.settings.state_dir / "logs"
    output.prune(kept, now=kept.stat().st_mtime + 540, keep_s=600)
    assert log(bench.scheduler, claim, Stream.STDOUT) == b"kept\n"
    output.prune(kept, now=kept.stat().st_mtime + 660, keep_s=600)
    assert list(kept.iterdir()) == []


def test_a_running_one_is_not_forgotten(bench: Bench) -> None:
    claim = bench.begin("echo begun; sleep 300")
    bench.output(claim, b"begun\n")
    bench.scheduler.forget(claim)
    assert bench.spool(claim).path.exists()
    bench.scheduler.cancel(claim, reason="enough")
    bench.end(claim)


def test_forgetting_the_number_of_a_dead_runner(bench: Bench) -> None:
    """A process number left in a lock file is never signalled once the lock is free."""
    claim = bench.begin("true")
    bench.end(claim)
    innocent = subprocess.Popen(["sleep", "60"])
    try:
        (bench.spool(claim).path / "lock").write_text(f"{innocent.pid}\n")
        bench.scheduler.cancel(claim, reason="too late")
        LocalScheduler(bench.settings).observe([claim])
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_an_agent_anywhere(bench: Bench, tmp_path: Path) -> None:
    """Also in /tmp, which a sandboxed formula has of its own, if the operator named it."""
    agent = tmp_path / "agent"
    agent.write_text('#!/bin/sh\necho "agent with $1"; cat >/dev/null\n')
    agent.chmod(0o755)
    (tmp_path / "other").write_text("hidden in a sandbox\n")
    argv = (str(agent), "model-1")
    command = AgentSettings(command=(str(agent), "{model}"))
    bench = Bench(bench.minter, bench.settings.model_copy(update={"agent": command}))
    claim = bench.begin("x = 1\n", kind=FormulaKind.AGENT, agent_argv=argv)
    outcome = bench.end(claim).outcome
    assert outcome
    assert outcome.logs == "agent with model-1\n"


READS_ALL = r"""#!/bin/sh
cat >/dev/null
printf %s "$TOKEN" | sha256sum
for each in /proc/[0-9]*; do
    if [ "$each" != "/proc/$$" ]; then grep -als "the-secret" "$each"/environ; fi
    for file in "$each"/fd/*; do
        case $(readlink "$file") in /memfd:*) grep -als "the-secret" "$file";; esac
    done
done
env -u TOKEN sh -c 'ls /proc/self/fd'
"""


@pytest.mark.needs("bwrap")
def test_the_secrets_of_an_agent_are_in_no_process_of_its_sandbox(
    minter: Minter, tmp_path: Path
) -> None:
    """A program that starts the agent proper may keep one to itself, and scrubs its own environment."""
    secret = "the-secret's $(value) \\ `x` \u00fc\n"
    minter.put("TOKEN", secret)
    agent = tmp_path / "agent"
    agent.write_text(READS_ALL)
    agent.chmod(0o755)
    command = AgentSettings(command=(str(agent),))
    bench = Bench(minter, make_settings(tmp_path).model_copy(update={"agent": command}))
    argv = (str(agent),)
    claim = bench.begin("x = 1\n", kind=FormulaKind.AGENT, agent_argv=argv, secrets=("TOKEN",))
    outcome = bench.end(claim).outcome
    assert outcome
    digest = hashlib.sha256(secret.encode()).hexdigest()
    assert outcome.logs.splitlines() == [f"{digest}  -", "0", "1", "2", "3"]  # 3: of ls


def test_a_state_folder_behind_a_link(minter: Minter, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "real")
    bench = Bench(minter, make_settings(tmp_path))
    outcome = bench.end(bench.begin("cd; pwd; echo x > file")).outcome
    assert outcome
    assert outcome.verdict is Verdict.SUCCEEDED


def test_many_at_a_time(bench: Bench) -> None:
    claims = [bench.begin(f"exit {n}") for n in range(1, 13)]
    codes = [seen.outcome.exit_code for seen in map(bench.end, claims) if seen.outcome]
    assert codes == list(range(1, 13))


def test_a_payload_is_never_written(bench: Bench) -> None:
    spec = bench.minter.spec("echo begun; sleep 300")
    grant = bench.minter.mint()
    claim = bench.submit(spec, grant)
    bench.output(claim, b"begun\n")
    payload = encode_payload(spec, grant)
    for path in bench.spool(claim).path.rglob("*"):
        if path.is_file():
            assert payload not in path.read_bytes()
    bench.scheduler.cancel(claim, reason="enough")
    bench.end(claim)
