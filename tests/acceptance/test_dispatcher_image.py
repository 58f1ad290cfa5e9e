"""The dispatcher as a Docker job of Nomad, with an ops repo over HTTPS whose token lies in OpenBao.

As on a real cluster: no token is stored with the job, the operator's formulas and the CA are in an
image of their own over the project's, and nothing of this machine's files is used.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.devservers.nomad_forget import forget
from tests.servers import git_https
from tests.servers.bao import Bao
from tests.servers.git_https import GitHttps
from tests.servers.nomad import Nomad
from tests.support.cli_process import disinto

pytestmark = [pytest.mark.needs("nomad", "docker", "bao", "git"), pytest.mark.slow]

IMAGE = "disinto-own:test"
GIT_TOKEN = "git-token-5d20c1"
VALUE = "a value of its own"
ACTION = 'id = "first"\nformula = "hello"\ncontext = "c"\nsecrets = ["MY_SECRET"]\n'
DOCKERFILE = """
ARG BASE
FROM ${BASE}
USER root
COPY ca.pem /tmp/ca.pem
RUN cat /tmp/ca.pem >> /etc/ssl/certs/ca-certificates.crt
COPY hello.sh /opt/formulas/
USER agent
"""


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[GitHttps]:
    """A remote with one action."""
    root = tmp_path / "repositories"
    root.mkdir()
    git(root, "init", "--quiet", "--bare", "--initial-branch=main", "ops.git")
    git(root / "ops.git", "config", "http.receivepack", "true")
    git(tmp_path, "clone", "--quiet", str(root / "ops.git"), "work")
    action = tmp_path / "work" / "vault" / "actions" / "first.toml"
    action.parent.mkdir(parents=True)
    action.write_text(ACTION)
    git(tmp_path / "work", "add", "-A")
    git(tmp_path / "work", "commit", "--quiet", "-m", "Ask for a run")
    git(tmp_path / "work", "push", "--quiet", "origin", "HEAD:main")
    with git_https.serve(root, user="disinto", token=GIT_TOKEN) as server:
        yield server


@pytest.fixture
def image(tmp_path: Path, forge: GitHttps, runner_image: str) -> str:
    context = tmp_path / "image"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    certificate, _, _ = forge.ca.read_text().partition("-----BEGIN PRIVATE")
    (context / "ca.pem").write_text(certificate)
    formula = context / "hello.sh"
    formula.write_text('#!/bin/bash\necho "length ${#MY_SECRET}"\n')
    formula.chmod(0o755)
    subprocess.run(
        ["docker", "build", "-q", "-t", IMAGE, "--build-arg", f"BASE={runner_image}", context],
        check=True,
        capture_output=True,
    )
    return IMAGE


@pytest.fixture
def config(tmp_path: Path, vault: Bao, nomad: Nomad, forge: GitHttps, image: str) -> Iterator[Path]:
    prefix = nomad.unique("job")
    file = tmp_path / "config" / "disinto.toml"
    file.parent.mkdir()
    file.with_name("policy.toml").write_text('[tiers]\nhello = "low"\n')
    file.write_text(f"""
scheduler = "nomad"
[ops_repo]
remote = "{forge.url}/ops.git"
token_secret = "forge"
[vault]
addr = "{vault.addr}"
kv_mount = "{vault.kv_mount}"
installation = "{vault.kv_mount}-image"
auth = "jwt"
auth_mount = "jwt-{prefix}"
[nomad]
addr = "{nomad.addr}"
image = "{image}"
ledger_prefix = "{prefix}"
[formulas]
path = "/opt/formulas"
[policy]
file = "policy.toml"
""")
    yield file
    forget(nomad, nomad.settings(ledger_prefix=prefix))


def test_an_action_runs_by_a_dispatcher_in_a_container(
    config: Path, vault: Bao, nomad: Nomad, forge: GitHttps, tmp_path: Path
) -> None:
    vault.put("forge", GIT_TOKEN, prefix="disinto/bots")
    operator = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "DISINTO_CONFIG": str(config),
        "VAULT_TOKEN": vault.root_token,
        "NOMAD_TOKEN": nomad.token,
        "GIT_SSL_CAINFO": str(forge.ca),
    }
    for words in (("apply", "--yes"), ("apply", "--yes", "--dispatcher")):
        said = disinto(*words, env=operator)
        assert said.code == 0, said
        assert "not known" not in said.err, "the operator's token finds that of the remote"
    put = disinto("secrets", "put", "MY_SECRET", env=operator, stdin=VALUE)
    assert put.code == 0, put

    job = next(j["ID"] for j in nomad.api().jobs() if j["ID"].endswith("-dispatcher"))

    @tenacity.retry(
        stop=tenacity.stop_after_delay(120), wait=tenacity.wait_fixed(0.5), reraise=True
    )
    def result() -> dict[str, Any]:
        listed = git(tmp_path / "repositories" / "ops.git", "ls-tree", "-r", "--name-only", "main")
        assert "vault/actions/first.result.json" in listed, _said(nomad, job)
        text = git(
            tmp_path / "repositories" / "ops.git", "show", "main:vault/actions/first.result.json"
        )
        parsed: dict[str, Any] = json.loads(text)
        return parsed

    told = result()
    assert (told["verdict"], told["logs"]) == ("succeeded", f"length {len(VALUE)}\n")
    stored = json.dumps([nomad.api().job(j["ID"]) for j in nomad.api().jobs()])
    for secret in (vault.root_token, nomad.token, GIT_TOKEN, VALUE):
        assert secret not in stored
        assert secret not in _said(nomad, job)
    assert "first  succeeded" in _inside(nomad, job, "status")


def _inside(nomad: Nomad, job: str, *words: str) -> str:
    """A command in the dispatcher's own container, with its settings."""
    allocation = nomad.api().allocations(job)[0]["ID"]
    done = subprocess.run(
        ["docker", "exec", f"dispatcher-{allocation}", "disinto", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _said(nomad: Nomad, job: str) -> str:
    """The log of the dispatcher's job, or why there is none."""
    api = nomad.api()
    allocations = api.allocations(job)
    if not allocations:
        return str(api.evaluations(job))
    if not (allocations[0].get("TaskStates") or {}).get("dispatcher", {}).get("StartedAt"):
        return str(allocations[0].get("TaskStates"))
    return "".join(
        frame.data.decode()
        for stream in ("stdout", "stderr")
        for frame in api.logs(allocations[0]["ID"], "dispatcher", stream)
    )
