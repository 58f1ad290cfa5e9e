"""The dispatcher as a job of Nomad: it logs in by its workload identity and holds no token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tenacity

from tests.servers.bao import Bao
from tests.servers.nomad import Nomad, serve

pytestmark = [pytest.mark.needs("nomad", "bao", "git"), pytest.mark.slow]

ACTION = 'id = "first"\nformula = "hello"\ncontext = "c"\nsecrets = ["MY_SECRET"]\n'
VALUE = "a value of its own"


@pytest.fixture
def own_nomad(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nomad]:
    """An agent that finds this environment's ``disinto`` on its PATH."""
    monkeypatch.delenv("NOMAD_ADDR", raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    with serve() as server:
        if not server.runs_here:
            pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
        yield server


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def config(tmp_path: Path, vault: Bao, own_nomad: Nomad) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "ops.git")
    git(tmp_path, "clone", "--quiet", "ops.git", "work")
    action = tmp_path / "work" / "vault" / "actions" / "first.toml"
    action.parent.mkdir(parents=True)
    action.write_text(ACTION)
    git(tmp_path / "work", "add", "-A")
    git(tmp_path / "work", "commit", "--quiet", "-m", "Ask for a run")
    git(tmp_path / "work", "push", "--quiet", "origin", "HEAD:main")
    formulas = tmp_path / "formulas"
    formulas.mkdir()
    (formulas / "hello.sh").write_text('#!/bin/bash\necho "length ${#MY_SECRET}"\n')
    (tmp_path / "policy.toml").write_text('[tiers]\nhello = "low"\n')
    file = tmp_path / "disinto.toml"
    file.write_text(
        f"""
scheduler = "nomad"
[ops_repo]
remote = "{tmp_path}/ops.git"
[vault]
addr = "{vault.addr}"
kv_mount = "{vault.kv_mount}"
installation = "{vault.kv_mount}-job"
auth = "jwt"
[nomad]
addr = "{own_nomad.addr}"
driver = "raw_exec"
runner_command = ["{sys.executable}", "-m", "dispatcher.runner"]
[formulas]
path = "{formulas}"
[policy]
file = "policy.toml"
"""
    )
    return file


def disinto(config: Path, operator: dict[str, str], *words: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["disinto", *words, "--config", str(config)],
        env={"PATH": os.environ["PATH"], "HOME": str(config.parent), **operator},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_action_runs_by_a_dispatcher_without_a_stored_token(
    tmp_path: Path, config: Path, vault: Bao, own_nomad: Nomad
) -> None:
    operator = {"VAULT_TOKEN": vault.root_token, "NOMAD_TOKEN": own_nomad.token}
    disinto(config, operator, "apply", "--yes")
    disinto(config, operator, "secrets", "put", "MY_SECRET", stdin=VALUE)
    disinto(config, operator, "apply", "--yes", "--dispatcher")
    again = json.loads(disinto(config, operator, "apply", "--check", "--dispatcher", "--json"))
    assert again["drift"] is False

    @tenacity.retry(stop=tenacity.stop_after_delay(90), wait=tenacity.wait_fixed(0.2), reraise=True)
    def result() -> dict[str, object]:
        found = git(tmp_path / "ops.git", "show", "main:vault/actions/first.result.json")
        parsed: dict[str, object] = json.loads(found)
        return parsed

    told = result()
    assert (told["verdict"], told["logs"]) == ("succeeded", f"length {len(VALUE)}\n")

    api = own_nomad.api()
    stored = json.dumps([api.job(job["ID"]) for job in api.jobs()])
    for secret in (vault.root_token, own_nomad.token, VALUE):
        assert secret not in stored

    @tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.2), reraise=True)
    def nothing_is_left() -> None:
        assert not [job for job in api.jobs() if job["ParentID"]]
        left = {stub["Path"] for stub in api.variables("disinto/")}
        assert not {path for path in left if "first" in path}

    nothing_is_left()
    alloc = api.allocations("disinto-dispatcher")[0]
    said = "".join(
        frame.data.decode()
        for stream in ("stdout", "stderr")
        for frame in api.logs(alloc["ID"], "dispatcher", stream)
    )
    assert "leading" in said
    assert "job_drifted" not in said
