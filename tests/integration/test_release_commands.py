"""``disinto release`` on the command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cli.edge import run
from dispatcher.cli.session import Session
from dispatcher.release import deploy, lock, units
from dispatcher.release.records import LEFT
from dispatcher.release.units import UnitState
from tests.support.release_stage import BACKEND, BAD, ReleaseStage

pytestmark = pytest.mark.needs("git")


class Desk:
    """The command line on a stage."""

    def __init__(self, stage: ReleaseStage, capsys: pytest.CaptureFixture[str]) -> None:
        self.stage = stage
        self._capsys = capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        code = run(["release", *words, "--root", str(self.stage.root)], session=Session())
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = self.run(*words, "--json")
        return code, json.loads(out)


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    stage = ReleaseStage(tmp_path)
    monkeypatch.setattr(units, "Systemd", lambda: stage.fake)
    defaults = deploy.Deployer.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "get", stage.fake.get)
    return Desk(stage, capsys)


def test_a_release_and_what_the_commands_show(desk: Desk) -> None:
    stage = desk.stage
    code, plan = desk.json("deploy", "--plan")
    assert code == 0
    assert plan["head"] == stage.first
    assert plan["steps"][0] == "clone, and a first deploy"
    assert not (stage.root / "src").exists(), "a plan changes nothing"
    code, out, err = desk.run("deploy")
    assert code == 0
    assert out.startswith("deployed: ")
    assert "health: done in" in err
    second = stage.push({"migrations/1.sql": "x", **BAD["health"]})
    code, out, _ = desk.run("deploy", "--plan")
    assert code == 0
    assert "1 new migrations, not undone if the deploy fails: migrations/1.sql" in out
    assert f"  step    checkout of {second[:12]}" in out
    assert stage.head() == stage.first
    code, last = desk.json("deploy", "--timer")
    assert (code, last["outcome"], last["commit"]) == (1, "rolled-back", second)
    assert "  commit  " not in desk.run("deploy", "--timer")[1]
    code, status = desk.json("status")
    assert (code, status["safe_commit"], status["failed"]["commit"]) == (0, stage.first, second)
    assert status["failed"]["step"] == "health"
    assert [each["state"] for each in status["services"]] == ["active", "active"]
    code, out, _ = desk.run("status")
    assert f"failed        {second[:12]} at health: not healthy within 0.3 s" in out
    assert desk.run("deploy", "--timer")[1].startswith("not-retried: ")
    code, _, err = desk.run("rollback")
    assert (code, err.splitlines()[0]) == (66, "disinto: error: no earlier safe commit")


def test_a_rollback_by_hand_and_what_the_commands_show(desk: Desk) -> None:
    stage = desk.stage
    stage.deploy()
    second = stage.push({"lib": "2"})
    stage.deploy()
    code, last = desk.json("rollback")
    assert (code, last["outcome"], last["commit"]) == (0, "rolled-back-by-hand", stage.first)
    _, status = desk.json("status")
    assert (status["failed"], status["left"]["commits"]) == (None, [second])
    shown = desk.run("status")[1]
    assert f"left          {second[:12]}: {LEFT}" in shown
    assert "failed" not in shown
    assert f"this commit was {LEFT}" in desk.run("deploy", "--plan")[1]
    assert desk.run("deploy", "--timer")[1] == f"not-retried: {second[:12]} {LEFT}\n"


def test_a_unit_whose_state_is_unknown_has_one_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state(unit: str) -> UnitState:
        raise units.UnitFailed(f"show {unit}: exit code 1: no bus\nSee the manual\n")

    monkeypatch.setattr(desk.stage.fake, "state", state)
    _, status = desk.json("status")
    assert status["services"][0]["state"] == f"unknown: show {BACKEND}: exit code 1: no bus"


def test_70_means_that_a_deploy_is_broken(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a deploy before it changes anything has another exit code."""
    stage = desk.stage
    assert desk.run("deploy")[0] == 0
    stage.push({"lib": "2"})
    code, _, err = desk.run("rollback", "--to", "abc")
    assert code == 66
    assert "no earlier safe commit abc" in err
    release = stage.root / "release.toml"
    text = release.read_text()
    release.write_text(text.replace("free_mb = 0", "free_mb = 1000000000"))
    code, _, err = desk.run("deploy")
    assert code == 74
    assert "MB free" in err
    release.write_text(text)
    with monkeypatch.context() as patch:
        real = os.geteuid()
        patch.setattr(os, "geteuid", lambda: real + 1)
        patch.setattr(deploy.Deployer, "_check_user", lambda _: None)
        code, _, err = desk.run("deploy")
    assert code == 78
    assert "belongs to" in err
    (stage.root / "run" / "journal.json").write_text("{")
    code, _, err = desk.run("deploy")
    assert code == 74
    assert "journal.json: cannot be read" in err
    (stage.root / "run" / "journal.json").unlink()
    stage.assert_on(stage.first, lib="1")


def test_exit_codes_when_nothing_can_be_done(desk: Desk) -> None:
    stage = desk.stage
    layout = stage.application.layout
    layout.run.mkdir()
    with lock.locked(layout, "timer"):
        code, _, err = desk.run("deploy")
    assert code == 75
    assert "another deploy runs: pid" in err
    stage.remote.rename(stage.remote.with_suffix(".away"))
    assert desk.run("deploy")[0] == 69
    (stage.root / "release.toml").write_text("app = 3\n")
    code, _, err = desk.run("deploy")
    assert code == 78
    assert "release.toml:1:7: app must be a string" in err


def test_a_request_by_ssh_chooses_the_commit_and_nothing_else(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = desk.stage
    stage.deploy()
    second = stage.push({"lib": "2"})
    third = stage.push({"lib": "3"})
    request = f"disinto release deploy --app other --json --commit {second} --force"
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", request)
    code, last = desk.json("deploy", "--by-ssh")
    assert (code, last["commit"], last["wanted"]) == (0, second, second)
    code, last = desk.json("deploy", "--by-ssh")
    assert (code, last["outcome"]) == (0, "up-to-date"), "it cannot be forced"
    for other in ("", "disinto release deploy --timer", "rm -rf /\n"):
        monkeypatch.setenv("SSH_ORIGINAL_COMMAND", other)
        assert desk.json("deploy", "--by-ssh")[1]["commit"] == third, other
    assert desk.json("deploy")[1]["wanted"] == ""


@pytest.mark.parametrize(
    "request_",
    [
        "disinto release deploy --commit --timer",
        f"rm --commit {'a' * 40}",
        f"disinto release deploy --commit={'a' * 40}",
        f"disinto release deploy --commit {'a' * 12}",
        f"disinto release deploy --commit {'a' * 40}; reboot",
        f"disinto release deploy --json\n--commit {'a' * 40}",
        f"disinto release deploy --commit '{'a' * 40}'",
    ],
)
def test_a_request_by_ssh_for_a_commit_in_another_way_is_refused(
    request_: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else the head would be deployed in its place."""
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", request_)
    code, _, err = desk.run("deploy", "--by-ssh")
    assert (code, "--commit needs a space and a whole hash" in err) == (64, True), err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--commit", "main"], "not the beginning of a hash"),
        (["--commit", "a" * 40, "--timer"], "--commit goes with neither --plan nor --timer"),
        (["--commit", "a" * 40, "--plan"], "--commit goes with neither --plan nor --timer"),
    ],
)
def test_commits_that_cannot_be_named(desk: Desk, words: list[str], told: str) -> None:
    code, _, err = desk.run("deploy", *words)
    assert (code, told in err) == (64, True), err


def test_systemd_is_called_as_the_sudoers_file_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    program = tmp_path / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\n[ "$1" = show ] || exit 0\n'
        "echo ActiveState=active\necho InvocationID=abc\necho ActiveEnterTimestamp=@1700000000\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(units, "SYSTEMCTL", str(program))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    system = units.Systemd()
    assert system.state("a.service") == units.UnitState(
        active=True, invocation="abc", since=1_700_000_000.0
    )
    system.restart("a.service")
    system.stop("a.service")
    assert calls.read_text().splitlines()[1:] == [
        f"{verb} a.service" for verb in ("reset-failed", "restart", "stop")
    ]
    program.write_text("#!/bin/sh\necho 'Job failed' >&2\nexit 1\n")
    with pytest.raises(units.UnitFailed, match=r"restart a\.service: exit code 1: Job failed"):
        system.restart("a.service")


def test_nobody_has_to_watch(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the output is gone, as when a connection by SSH ends: the deploy goes on."""
    reader, writer = os.pipe()
    os.close(reader)

    def echo(line: str) -> None:
        os.write(writer, line.encode())

    deployer = desk.stage.deployer()
    monkeypatch.setattr(deployer, "_echo", echo)
    assert deployer.deploy().outcome == "deployed"
    desk.stage.assert_on(desk.stage.first, lib="1")
    os.close(writer)


def test_the_formula_s_program_runs(tmp_path: Path) -> None:
    """With an ssh that answers as a machine does."""
    commit = "a" * 40
    answer = json.dumps({"outcome": "deployed", "commit": commit})
    (tmp_path / "ssh").write_text(f"#!/bin/sh\necho welcome >&2\necho '{answer}'\n")
    (tmp_path / "ssh").chmod(0o755)
    outputs = tmp_path / "outputs"
    done = subprocess.run(
        ["bash", Path(__file__).parents[2] / "actions" / "release" / "formulas" / "release.sh"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "DISINTO_PYTHON": sys.executable,
            "DISINTO_PARAMS": '{"app": "shop", "machines": ["web1", "web2"]}',
            "DISINTO_OUTPUTS": str(outputs),
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(outputs.read_text())["machines"]["web2"] == {
        "outcome": "deployed",
        "commit": commit,
        "exit_code": 0,
    }
    assert "web1: deployed" in done.stdout
