"""What goes wrong on a person's desk: a message, an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.cli.reference import commands
from dispatcher.devservers.ports import free_port
from dispatcher.operate.follow import NOBODY
from tests.servers import silent
from tests.support.cli_process import DISINTO, disinto, started

NEEDS_SETTINGS = {
    "validate": ("validate", "."),
    "dispatch": ("dispatch", "some-id"),
    "watch": ("watch", "some-id"),
    "again": ("again", "some-id"),
    "inventory": ("inventory",),
    "desktop create": ("desktop", "create", "alice", "--no-follow"),
    "desktop list": ("desktop", "list"),
    "desktop show": ("desktop", "show", "some-id"),
    "desktop open": ("desktop", "open", "some-id", "--print"),
    "desktop destroy": ("desktop", "destroy", "some-id", "--yes"),
    "desktop gateway": ("desktop", "gateway", "gateway"),
    "desktop reap": ("desktop", "reap", "--no-follow"),
    "stack deploy": ("stack", "deploy", "alice", "--no-follow"),
    "stack list": ("stack", "list"),
    "stack show": ("stack", "show", "some-id"),
    "stack check": ("stack", "check", "alice"),
    "stack update": ("stack", "update", "some-id", "--image", "a:1"),
    "stack destroy": ("stack", "destroy", "some-id", "--yes"),
    "stack reap": ("stack", "reap", "--no-follow"),
    "schedule list": ("schedule", "list"),
    "schedule next": ("schedule", "next"),
    "sidecar plan": ("sidecar", "plan"),
    "sidecar dispatch": ("sidecar", "dispatch", "app", "1", "triage"),
    "status": ("status",),
    "logs": ("logs", "some-id"),
    "cancel": ("cancel", "some-id"),
    "verify": ("verify", "some-id"),
    "serve": ("serve", "--once"),
    "web": ("web", "--print", "--port", "0"),
    "plan": ("plan",),
    "archive": ("archive",),
    "apply": ("apply", "--check"),
    "takeover": ("takeover", "--yes"),
    "secrets put": ("secrets", "put", "NAME", "--yes"),
    "secrets list": ("secrets", "list"),
    "secrets rm": ("secrets", "rm", "NAME", "--yes"),
    "notify list": ("notify", "list"),
    "notify test": ("notify", "test", "NAME"),
    "doctor": ("doctor",),
    "audit verify": ("audit", "verify"),
}
NEEDS_REMOTE = ("watch", "cancel", "verify", "archive", "logs", "takeover")
NEEDS_VAULT = ("apply", "secrets put", "secrets list", "secrets rm")

settled = pytest.mark.parametrize("name", sorted(NEEDS_SETTINGS))


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has set nothing up; nothing listens where it points."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(tmp_path),
        "VAULT_ADDR": f"http://127.0.0.1:{free_port()}",
        "VAULT_TOKEN": "none",
        "DISINTO_HTTP__LISTEN": "",
    }


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    folder = tmp_path / "desk"
    folder.mkdir()
    return folder


def test_the_list_above_is_complete() -> None:
    alone = {
        "init",
        "schema",
        "completion",
        "help",
        "audit",
        "secrets",
        "notify",
        "sidecar",
        "schedule",
        "desktop",
        "stack",
    }
    # 'disinto release' works on another machine, which has no settings.
    names = {name for name, _, _ in commands() if name.split()[0] != "release"}
    assert names - alone == set(NEEDS_SETTINGS)


@settled
def test_settings_that_are_named_and_missing(name: str, env: dict[str, str], desk: Path) -> None:
    said = disinto("--config", "nosuch.toml", *NEEDS_SETTINGS[name], env=env, cwd=desk)
    assert said.code == (1 if name == "doctor" else 78)
    assert "nosuch.toml" in said.err + said.out


@settled
def test_settings_that_are_no_toml(name: str, env: dict[str, str], desk: Path) -> None:
    (desk / "disinto.toml").write_text("[ops_repo\nremote = 3\n")
    said = disinto(*NEEDS_SETTINGS[name], env=env, cwd=desk)
    assert said.code == (1 if name == "doctor" else 78)
    assert "disinto.toml:1:" in said.err + said.out


@settled
def test_settings_with_wrong_values_are_told_all_at_once(
    name: str, env: dict[str, str], desk: Path
) -> None:
    (desk / "disinto.toml").write_text('nosuch = 1\n[limits]\nmax_in_flight = "many"\n')
    said = disinto(*NEEDS_SETTINGS[name], env=env, cwd=desk)
    assert said.code == (1 if name == "doctor" else 78)
    assert "disinto.toml:1:1:" in said.err + said.out
    assert "disinto.toml:3:" in said.err + said.out


@pytest.mark.parametrize("name", NEEDS_REMOTE)
@pytest.mark.parametrize("remote", ["nosuch.git", "ssh://127.0.0.1:1/nosuch", ""])
def test_a_remote_that_cannot_be_reached(
    name: str, remote: str, env: dict[str, str], desk: Path
) -> None:
    (desk / "disinto.toml").write_text(f'[ops_repo]\nremote = "{remote}"\ntimeout_s = 5\n')
    said = disinto(*NEEDS_SETTINGS[name], env=env, cwd=desk)
    assert said.code in (69, 77, 78)
    renamed = ["'disinto dispatch ID' is 'disinto watch some-id' now; the old form will be removed"]
    lines = said.err.splitlines()
    assert lines[:1] == renamed if name == "dispatch" else lines[:1] != renamed
    assert lines[name == "dispatch"].startswith("disinto: error: ")
    assert said.out == ""


@pytest.mark.parametrize("name", NEEDS_VAULT)
def test_a_vault_that_cannot_be_reached(name: str, env: dict[str, str], desk: Path) -> None:
    said = disinto(*NEEDS_SETTINGS[name], env=env, cwd=desk, stdin="value")
    assert said.code == 69
    assert env["VAULT_ADDR"].removeprefix("http://") in said.err
    assert "value" not in said.err


@pytest.mark.parametrize("name", ["plan", "status", "doctor"])
def test_what_only_looks_tells_what_is_down(name: str, env: dict[str, str], desk: Path) -> None:
    (desk / "disinto.toml").write_text('[ops_repo]\nremote = "ssh://127.0.0.1:1/nosuch"\n')
    said = disinto(name, env=env, cwd=desk)
    assert said.code in (0, 1)
    assert "127.0.0.1" in said.out


def test_a_state_folder_that_cannot_be_made(env: dict[str, str], desk: Path) -> None:
    (desk / "file").write_text("")
    (desk / "disinto.toml").write_text('state_dir = "file/state"\n[ops_repo]\nremote = "x"\n')
    for words in (("serve", "--once"), ("status",), ("cancel", "x")):
        said = disinto(*words, env=env, cwd=desk)
        assert said.code in (73, 74, 78)
        assert "file/state" in said.err


def test_ctrl_c_while_following_says_what_goes_on(env: dict[str, str], desk: Path) -> None:
    assert disinto("init", "x", env=env, cwd=desk).code == 0
    action = 'id = "a"\nformula = "hello"\ncontext = ""\nsecrets = []\n'
    (desk / "a.toml").write_text(action)
    config = ("--config", "x/disinto.toml")
    with started(*config, "dispatch", "a.toml", env=env, cwd=desk) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if NOBODY in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert "a keeps running" in rest
    assert "Traceback" not in rest


def test_a_reader_that_goes_away_is_no_error(env: dict[str, str], desk: Path) -> None:
    for words in ("--help", "help exit-codes", "schema settings", "completion bash"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{' '.join(DISINTO)} {words} | true"],
            env=env,
            cwd=desk,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""


def test_an_unwritable_stdout_is_told(env: dict[str, str], desk: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        for words in (["schema", "settings"], ["--help"]):
            done = subprocess.run(
                [*DISINTO, *words],
                env=env,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            assert done.returncode == 74
            assert "No space left" in done.stderr
            assert "Traceback" not in done.stderr


def test_output_in_a_pipe_has_no_colours(env: dict[str, str], desk: Path) -> None:
    said = disinto("doctor", env=env, cwd=desk)
    assert "\x1b" not in said.out + said.err


@pytest.mark.parametrize("name", sorted({"status", "plan", "doctor", "validate", "archive"}))
def test_an_error_with_json_leaves_stdout_to_json(
    name: str, env: dict[str, str], desk: Path
) -> None:
    (desk / "disinto.toml").write_text("[broken\n")
    said = disinto(*NEEDS_SETTINGS[name], "--json", env=env, cwd=desk)
    if said.out:
        assert isinstance(said.json, dict)


def test_serve_says_what_is_missing_before_its_first_round(tmp_path: Path) -> None:
    """No Vault, no remote: each is told with its remedy, and serve goes on and waits."""
    config = tmp_path / "disinto.toml"
    config.write_text(
        f'state_dir = "state"\n[ops_repo]\nremote = "{tmp_path}/none.git"\n'
        '[vault]\naddr = "http://127.0.0.1:9"\n[http]\nlisten = ""\n'
    )
    env = {**os.environ, "DISINTO_CONFIG": str(config), "VAULT_TOKEN": "s.x"}
    with subprocess.Popen(
        [sys.executable, "-m", "dispatcher", "serve"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as serve:
        assert serve.stderr is not None
        unfit = {}
        for line in serve.stderr:
            told = json.loads(line)
            if told["event"] == "unfit":
                unfit[told["check"]] = told
            if told["event"] == "leading":
                break
        serve.terminate()
        assert serve.wait(30) == 0
    assert {"ops repo", "vault: reachable"} <= set(unfit)
    assert "none.git" in unfit["ops repo"]["detail"]


def test_sigterm_does_not_wait_for_a_remote_that_never_answers(
    env: dict[str, str], desk: Path
) -> None:
    """Before the first round; for the loop see ``tests/integration/test_stopping.py``."""
    with silent.serve() as never:
        (desk / "disinto.toml").write_text(f'[ops_repo]\nremote = "{never.addr}/ops.git"\n')
        with started("serve", env=env, cwd=desk) as process:
            assert never.asked.acquire(timeout=60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0, "git would be given up after 30 s"
