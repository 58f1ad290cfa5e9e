"""``compose.yaml`` and its step ``set-up``, which needs no Compose to be run."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tenacity

from dispatcher.devservers.nomad_forget import forget
from dispatcher.errors import Exit, Misconfigured
from dispatcher.model.mounts import Mount
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.support.cli_process import disinto

ROOT = Path(__file__).parents[2]

patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True
)


@pytest.fixture
def environ(vault: Bao, nomad: Nomad, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An operator's, with settings that keep to their own corner of shared servers."""
    if not nomad.runs_here:
        pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "VAULT_ADDR": vault.addr,
        "VAULT_TOKEN": vault.root_token,
        **nomad.environ,
        "DISINTO_SCHEDULER": "nomad",
        "DISINTO_VAULT__KV_MOUNT": vault.kv_mount,
        "DISINTO_NOMAD__DRIVER": "raw_exec",
        "DISINTO_NOMAD__RUNNER_COMMAND": f"{sys.executable},-m,dispatcher.runner",
        "DISINTO_NOMAD__LEDGER_PREFIX": nomad.unique("compose"),
    }
    yield environ
    forget(nomad, nomad.settings(ledger_prefix=environ["DISINTO_NOMAD__LEDGER_PREFIX"]))


def set_up(folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The step ``set-up``, run as ``compose.yaml`` runs it."""
    return subprocess.run(
        [sys.executable, "-m", "dispatcher.demo.compose", str(folder)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.needs("nomad", "bao", "git")
def test_set_up_leaves_a_dispatcher_that_can_serve(environ: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "disinto"
    for _ in range(2):
        done = set_up(folder, environ)
        assert done.returncode == Exit.OK, done.stderr
    own = {
        **{k: v for k, v in environ.items() if not k.endswith("_TOKEN")},
        "DISINTO_CONFIG": str(folder / "disinto.toml"),
        "DISINTO_VAULT__TOKEN_FILE": str(folder / "vault.token"),
        "DISINTO_NOMAD__TOKEN_FILE": str(folder / "nomad.token"),
    }
    for name in ("vault.token", "nomad.token"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert (folder / name).read_text() not in environ.values()
    action = tmp_path / "hello.toml"
    action.write_text(ROOT.joinpath("actions/examples/hello.toml").read_text())
    sent = disinto("dispatch", "--no-follow", str(action), env=own)
    assert sent.code == 0, sent
    served = disinto("serve", "--once", env=own)
    assert served.code == 0, served
    told = disinto("status", "--json", env=own).out
    assert '"succeeded"' in told
    page_shows_it(folder, own)


def page_shows_it(folder: Path, environ: dict[str, str]) -> None:
    """The service ``page``, with the settings that ``compose.yaml`` gives it: its tokens are enough, and no more."""
    own = {
        **environ,
        "DISINTO_STATE_DIR": str(folder.parent / "page"),
        "DISINTO_VAULT__TOKEN_FILE": str(folder / "page.vault.token"),
        "DISINTO_NOMAD__TOKEN_FILE": str(folder / "page.nomad.token"),
    }
    words = (sys.executable, "-m", "dispatcher", "web", "--print", "--port", "0")
    with subprocess.Popen(words, env=own, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            link = process.stdout.readline().strip()
            with httpx.Client(base_url=link.partition("/enter/")[0], timeout=30) as client:
                client.get(link, headers={"Accept": "text/html"})
                assert listed(client) == ["succeeded"]
                checks = diagnosed(client)
                assert {name for name, state in checks.items() if state == "failed"} == set(), (
                    checks
                )
                assert checks["vault: least rights of the web page"] == "ok"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@patiently
def listed(client: httpx.Client) -> list[str]:
    """The verdicts of all runs, once there are any."""
    results = client.get("/overview.json").json()["results"]
    assert results
    return [each["action"]["verdict"] for each in results]


@patiently
def diagnosed(client: httpx.Client) -> dict[str, str]:
    """The states of the page's own checks by their names, once they have ended."""
    shown = client.get("/doctor.json").json()
    assert shown["ended_at"]
    return {check["name"]: check["state"] for check in shown["checks"]}


@pytest.mark.needs("nomad", "bao", "git")
def test_a_token_that_is_none_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    wrong = {**environ, "NOMAD_TOKEN": "6e4c2d5e-0000-4000-8000-000000000000"}
    refused = set_up(tmp_path / "data", wrong)
    assert refused.returncode == Misconfigured.exit_code
    assert "no management token" in refused.stderr
    incomplete = set_up(tmp_path / "data", {k: v for k, v in environ.items() if k != "VAULT_ADDR"})
    assert incomplete.returncode == Misconfigured.exit_code
    assert "VAULT_ADDR must be set" in incomplete.stderr


def test_compose_reads_the_file() -> None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        done = subprocess.run(
            [*command, "--file", str(ROOT / "compose.yaml"), "config", "--quiet"],
            capture_output=True,
            text=True,
            check=False,
        )
        if "unknown" not in done.stderr:
            assert done.returncode == 0, done.stderr
            return
    pytest.skip("no Docker Compose is on this machine")


def test_volumes_of_the_agent_are_those_that_actions_can_name() -> None:

    config = (ROOT / "jobs" / "compose" / "nomad.hcl").read_text()
    blocks = {
        mount: config.split(f'host_volume "{mount.value}" {{')[1].split("}")[0] for mount in Mount
    }
    for mount, block in blocks.items():
        assert f"/srv/disinto/volumes/{mount.value}" in block
        assert ("read_only = true" in block) == mount.read_only
