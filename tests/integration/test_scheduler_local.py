"""The local scheduler: the contract, with and without bubblewrap, and what is its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.engines.base import CannotSubmit, Stream
from dispatcher.engines.local import output
from dispatcher.engines.local import scheduler as local_module
from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.engines.local.spool import Spool
from dispatcher.errors import Misconfigured, Unavailable
from dispatcher.host.process_record import decode_record
from dispatcher.model.payload import encode_payload, encode_spec
from dispatcher.model.run import (
    Claim,
    FormulaKind,
    Mount,
    Observation,
    RunSpec,
    RunState,
    Verdict,
    WrappedGrant,
)
from dispatcher.settings import AgentSettings, Settings, settings_model
from tests.contract.scheduler import SchedulerContract, claim_of, eventually, log
from tests.servers.available import why_missing
from tests.servers.bao import Bao
from tests.servers.grants import Minter

pytestmark = pytest.mark.needs("bao")


def make_settings(tmp_path: Path, **local: Any) -> Settings:
    return settings_model()(
        state_dir=tmp_path / "state",
        local=LocalSettings(kill_grace_s=1.0, **local),
    )


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test does, it leaves no runner behind."""
    yield
    runs = tmp_path / "state" / "runs"
    for folder in runs.iterdir() if runs.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            pid = decode_record((folder / "lock").read_bytes()).pid
            if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


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


@pytest.fixture
def minter(vault: Bao) -> Minter:
    return Minter(bao=vault).prepare()


class Bench:
    """A scheduler, a minter, and the few moves that tests share."""

    def __init__(self, minter: Minter, settings: Settings) -> None:
        self.minter = minter
        self.settings = settings
        self.woken = threading.Event()
        self.scheduler = LocalScheduler(settings, wake=self.woken.set)

    def begin(self, formula: str, **more: Any) -> Claim:
        spec = self.minter.spec(formula, **more)
        return self.submit(spec, self.minter.mint(*spec.secrets))

    def submit(self, spec: RunSpec, grant: WrappedGrant) -> Claim:
        return claim_of(spec, grant, engine_id=self.scheduler.submit(spec, grant, job="runner"))

    def spool(self, claim: Claim) -> Spool:
        return Spool(self.settings.state_dir / "runs", claim.key, outcome_key=claim.outcome_key)

    def end(self, claim: Claim, scheduler: LocalScheduler | None = None) -> Observation:
        return SchedulerContract.await_end(scheduler or self.scheduler, claim)

    def output(self, claim: Claim, text: bytes) -> None:
        SchedulerContract.await_output(self.scheduler, claim, text)

    def runner(self, claim: Claim) -> int:
        return eventually(self.spool(claim).runner)[0].pid


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.needs("bwrap"))])
def bench(request: pytest.FixtureRequest, minter: Minter, tmp_path: Path) -> Bench:
    return Bench(minter, make_settings(tmp_path, bubblewrap=request.param))


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
        LocalScheduler(settings).submit(decode_spec(told["spec"]), grant, job="")
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
    assert bench.scheduler.submit(spec, bench.minter.mint(), job="") == claim.key.token
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


HOLDS_ON = (
    "trap '' TERM; (setsid bash -c 'trap \"\" TERM; while :; do sleep 0.1; done' &)\n"
    "echo begun; while :; do sleep 0.1; done"
)


def test_a_killed_runner_is_lost_and_leaves_nothing(bench: Bench) -> None:
    claim = bench.begin(HOLDS_ON)
    bench.output(claim, b"begun\n")
    os.kill(bench.runner(claim), signal.SIGKILL)
    outcome = bench.end(claim).outcome
    assert outcome
    assert (outcome.verdict, outcome.exit_code) == (Verdict.LOST, 71)
    assert outcome.formula_started
    assert outcome.logs == "begun\n"
    assert marked(bench.spool(claim)) == []
    assert not bench.spool(claim).private.exists()
    assert bench.end(claim, LocalScheduler(bench.settings)).outcome == outcome
    # It is never started again.
    spec = replace(bench.minter.spec("echo again"), key=claim.key)
    grant = bench.minter.mint()
    assert bench.submit(spec, grant).engine_id == claim.engine_id
    seen = bench.scheduler.observe([claim])[claim.key]
    assert (seen.state, seen.outcome) == (RunState.ENDED, outcome)
    assert bench.minter.unwrap(grant)


def test_killed_while_nobody_looked(bench: Bench) -> None:
    """What a restarted dispatcher finds after its machine's memory ran out, for example."""
    claim = bench.begin(HOLDS_ON)
    bench.output(claim, b"begun\n")
    fresh = LocalScheduler(bench.settings)
    pid = bench.runner(claim)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: None if alive(pid) else True)
    seen = fresh.observe([claim])[claim.key]
    assert seen.outcome
    assert seen.outcome.verdict is Verdict.LOST
    assert marked(bench.spool(claim)) == []


def marked(spool: Spool) -> list[int]:
    """Processes with the run's folder in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            text = (entry / "environ").read_bytes()
            if str(spool.home).encode() in text and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def test_a_runner_that_hangs_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "SLACK_S", 0.0)
    claim = bench.begin(HOLDS_ON, timeout_s=1)
    bench.output(claim, b"begun\n")
    os.kill(bench.runner(claim), signal.SIGSTOP)
    outcome = bench.end(claim).outcome
    assert outcome
    assert (outcome.verdict, outcome.exit_code) == (Verdict.TIMED_OUT, 124)
    assert "did not end at its timeout" in outcome.error
    assert marked(bench.spool(claim)) == []


def test_a_start_that_came_to_nothing_is_made_good(bench: Bench) -> None:
    """The dispatcher died between making the folder and the runner's first step."""
    spec = bench.minter.spec("echo ran")
    spool = Spool(bench.settings.state_dir / "runs", spec.key, outcome_key=spec.outcome_key)
    spool.path.parent.mkdir(parents=True)
    lock = spool.hold()
    assert lock is not None
    spool.prepare()
    claim = claim_of(spec)
    assert bench.scheduler.observe([claim])[claim.key].state is RunState.RUNNING
    os.close(lock)
    assert bench.scheduler.observe([claim]) == {}
    claim = bench.submit(spec, bench.minter.mint())
    outcome = bench.end(claim).outcome
    assert outcome
    assert outcome.logs == "ran\n"


def test_a_runner_that_cannot_begin_is_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation is told, not tried again for ever."""
    broken = (sys.executable, "-c", "raise SystemExit('no such module')")
    monkeypatch.setattr("dispatcher.engines.local.launch.command", lambda: broken)
    outcome = bench.end(bench.begin("true")).outcome
    assert outcome
    assert outcome.verdict is Verdict.ERROR
    assert not outcome.formula_started
    assert "no such module" in outcome.error


def test_no_process_can_be_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.engines.local.launch.command", lambda: ("/nowhere/python",))
    with pytest.raises(Unavailable, match="no runner could be started"):
        bench.begin("true")


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


# Mounts


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "operator" / "ssh"
    folder.mkdir(parents=True)
    (folder / "id").write_text("a private key\n")
    return folder


def test_a_mount_nobody_offers(bench: Bench) -> None:
    with pytest.raises(CannotSubmit, match="offered nowhere") as caught:
        bench.begin("true", mounts=(Mount.SSH,))
    assert caught.value.verdict == "unplaceable"


def test_a_mount_whose_folder_is_gone(minter: Minter, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, mounts={Mount.SSH: tmp_path / "gone"})
    with pytest.raises(CannotSubmit, match="does not exist") as caught:
        Bench(minter, settings).begin("true", mounts=(Mount.SSH,))
    assert caught.value.verdict == "unplaceable"


def test_nothing_starts_while_bubblewrap_cannot_be_used(
    minter: Minter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the formula could read the dispatcher's token; a person may mend it meanwhile."""
    program = tmp_path / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 159\n")
    program.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{program.parent}:{path}")
    bench = Bench(minter, make_settings(tmp_path))
    spec, grant = minter.spec("true"), minter.mint()
    with pytest.raises(Misconfigured, match="cannot be used: it ended with 159"):
        bench.submit(spec, grant)
    assert not Spool(bench.settings.state_dir / "runs", spec.key).exists()
    program.unlink()
    monkeypatch.setenv("PATH", path)
    if shutil.which("bwrap") is None or why_missing("bwrap") is None:
        assert bench.end(bench.submit(spec, grant)).outcome


def test_a_mount_that_cannot_be_protected(minter: Minter, tmp_path: Path, keys: Path) -> None:
    settings = make_settings(tmp_path, mounts={Mount.SSH: keys}, bubblewrap=False)
    with pytest.raises(CannotSubmit, match="allow_unprotected_mounts") as caught:
        Bench(minter, settings).begin("true", mounts=(Mount.SSH,))
    assert caught.value.verdict == "unplaceable"


def test_an_unprotected_mount_where_the_settings_allow_it(
    minter: Minter, tmp_path: Path, keys: Path
) -> None:
    settings = make_settings(
        tmp_path, mounts={Mount.SSH: keys}, bubblewrap=False, allow_unprotected_mounts=True
    )
    bench = Bench(minter, settings)
    claim = bench.begin('cat "$HOME/.ssh/id"', mounts=(Mount.SSH,))
    bench.end(claim)
    assert log(bench.scheduler, claim, Stream.STDOUT) == b"a private key\n"
    assert (keys / "id").read_text() == "a private key\n"  # the link went, not what it led to


@pytest.mark.needs("bwrap")
class TestProtection:
    """What a formula in bubblewrap can do, and what it cannot."""

    @pytest.fixture
    def bench(self, minter: Minter, tmp_path: Path, keys: Path) -> Bench:
        data = tmp_path / "operator" / "data"
        sops = tmp_path / "operator" / "sops"
        for folder in (data, sops):
            folder.mkdir()
        (sops / "keys.txt").write_text("age key\n")
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "ledger.db").write_text("claims\n")
        token = tmp_path / "operator" / "vault-token"
        token.write_text("the dispatcher's token\n")
        settings = make_settings(
            tmp_path,
            mounts={
                Mount.SSH: keys,
                Mount.SOPS: sops,
                Mount.AGENT_DATA: data,
                Mount.PROJECT_REPOS: tmp_path,  # holds the state folder and all others
            },
        )
        vault = settings.vault.model_copy(update={"token_file": token})
        return Bench(minter, settings.model_copy(update={"vault": vault}))

    def run(self, bench: Bench, formula: str, *mounts: Mount) -> tuple[int, str, str]:
        claim = bench.begin(formula, mounts=mounts)
        outcome = bench.end(claim).outcome
        assert outcome
        out, err = (log(bench.scheduler, claim, stream).decode() for stream in Stream)
        return outcome.exit_code, out, err

    def test_keys_are_read_and_not_written(self, bench: Bench, keys: Path) -> None:
        code, out, err = self.run(
            bench,
            'cat "$HOME/.ssh/id"; touch "$HOME/.ssh/new" && exit 9\n'
            'echo x >> "$HOME/.ssh/id" && exit 9; rm -f "$HOME/.ssh/id" && exit 9; exit 0',
            Mount.SSH,
        )
        assert (code, out) == (0, "a private key\n"), err
        assert err.count("Read-only file system") == 3
        assert [p.name for p in keys.iterdir()] == ["id"]

    def test_data_is_written(self, bench: Bench, tmp_path: Path) -> None:
        code, _, err = self.run(bench, 'echo new > "$HOME/data/file"', Mount.AGENT_DATA)
        assert code == 0, err
        assert (tmp_path / "operator" / "data" / "file").read_text() == "new\n"

    def test_mounts_not_asked_for_are_hidden(
        self, bench: Bench, keys: Path, tmp_path: Path
    ) -> None:
        operator = tmp_path / "operator"
        code, out, err = self.run(
            bench,
            f'cat {keys}/id "$HOME/.ssh/id" {operator}/sops/keys.txt; exit 0',
            Mount.AGENT_DATA,
        )
        assert (code, out) == (0, ""), err

    def test_a_mount_shows_nothing_that_is_hidden(self, bench: Bench) -> None:
        """One offered folder holds the others and the dispatcher's state."""
        code, out, err = self.run(
            bench,
            'cd "$HOME/repos"; cat operator/ssh/id state/ledger.db operator/vault-token\n'
            "ls operator/ssh state; exit 0",
            Mount.PROJECT_REPOS,
        )
        assert code == 0, err
        assert "key" not in out
        assert "claims" not in out
        assert "token" not in out
        assert out == "operator/ssh:\n\nstate:\n"

    @pytest.mark.parametrize(("hide", "seen"), [(True, ""), (False, "a person's key")])
    def test_the_home_of_the_dispatchers_user_is_hidden(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, *, hide: bool, seen: str
    ) -> None:
        # Not below /tmp, which a sandboxed formula never sees.
        places = [p for p in (Path(__file__).parent, Path.home()) if p.parts[1:2] != ("tmp",)]
        if not places:
            pytest.skip("there is no folder to write to outside of /tmp")
        with tempfile.TemporaryDirectory(dir=places[0], prefix="home-") as folder:
            key = Path(folder) / ".ssh" / "id"
            key.parent.mkdir()
            key.write_text("a person's key")
            monkeypatch.setenv("HOME", folder)
            local = bench.settings.local.model_copy(update={"hide_home": hide})
            other = Bench(bench.minter, bench.settings.model_copy(update={"local": local}))
            script = f"cat {key}; exit 0"
            assert self.run(other, script, Mount.AGENT_DATA)[:2] == (0, seen)

    def test_the_state_is_hidden(self, bench: Bench) -> None:
        state = bench.settings.state_dir
        code, out, _ = self.run(
            bench,
            f"cat {state}/ledger.db; ls {state} {state}/runs; touch {state}/x && exit 9\n"
            f"cat {bench.settings.vault.token_file}; exit 0",
        )
        assert code == 0
        assert "claims" not in out
        assert "token" not in out
        assert len(out.split()) <= 4  # the two folders' names, runs, and its own folder
        assert (state / "ledger.db").read_text() == "claims\n"

    def test_other_processes_are_hidden(self, bench: Bench) -> None:
        code, out, err = self.run(
            bench, f"test ! -e /proc/{os.getpid()}/environ && ls -d /proc/[0-9]* | wc -l"
        )
        assert code == 0, err
        assert int(out) < 10

    def test_the_machine_is_read_only(self, bench: Bench) -> None:
        code, _, err = self.run(
            bench,
            "touch /etc/x /usr/x && exit 9; mount -o remount,bind,rw / && exit 9\n"
            'umount "$HOME" && exit 9; echo t > /tmp/t && echo h > "$HOME/h" && echo d > "$TMPDIR/d"',
        )
        assert code == 0, err

    def test_root_cannot_undo_it(self, bench: Bench) -> None:
        state = bench.settings.state_dir
        code, out, _ = self.run(
            bench,
            f"umount -l {state}; umount -l /tmp; cat {state}/ledger.db\n"
            f"unshare -rm bash -c 'umount -l {state}; umount -l /tmp; cat {state}/ledger.db'; exit 0",
        )
        assert (code, out) == (0, "")


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
