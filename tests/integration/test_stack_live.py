"""The programs behind the stack formulas against a real Dokploy: killed, with a restart in the middle, repeated."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.errors import Exit
from dispatcher.stack.dokploy import Connection, Dokploy
from dispatcher.stack.params import SETTINGS_FILE
from dispatcher.stack.platform import Project
from tests.servers import dokploy_live

pytestmark = [pytest.mark.needs("dokploy"), pytest.mark.thorough]

ROOT = Path(__file__).parents[2]
BLOB = "0" * 40
ROUNDS = int(os.environ.get("DISINTO_STACK_ROUNDS", "5"))


class Programs:
    """One stack, its run's directory, and the server."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.name = f"p{secrets.token_hex(4)}"
        self.id = f"stack-{self.name}"
        self.directory = directory
        self._key = os.environ["DOKPLOY_API_TOKEN"]
        url = os.environ["DOKPLOY_URL"]
        self.platform = Dokploy(Connection(self._key, url=url, timeout_s=120))
        settings = {
            "DOKPLOY_URL": url,
            "STACK_DOMAIN_SUFFIX": "stacks.example",
            "STACK_IMAGE": dokploy_live.image("one"),
            "project": f"live-{secrets.token_hex(3)}",
            "probe_address": "127.0.0.1",
            "http_port": stack.enter_context(dokploy_live.pages()),
        }
        (directory / SETTINGS_FILE).write_text(json.dumps(settings))
        stack.callback(dokploy_live.remove_volume, f"workspace-{self.name}")
        stack.callback(self.run, "destroy", {"id": self.id})

    def deploying(self, **params: Any) -> subprocess.Popen[str]:
        return self._start("deploy", {"name": self.name, "https": False, **params})

    def run(self, program: str, params: dict[str, Any]) -> tuple[int, str]:
        process = self._start(program, params)
        out, err = process.communicate(timeout=900)
        return process.returncode, out + err

    def _start(self, program: str, params: dict[str, Any]) -> subprocess.Popen[str]:
        for name in ("outputs", "progress"):
            (self.directory / name).unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "dispatcher.stack", program],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DISINTO_RUN_KEY": f"{self.id}.{BLOB}",
                "DISINTO_PARAMS": json.dumps(params),
                "DISINTO_FILES": str(self.directory),
                "DISINTO_OUTPUTS": str(self.directory / "outputs"),
                "DISINTO_PROGRESS": str(self.directory / "progress"),
                "DOKPLOY_API_TOKEN": self._key,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def stages(self) -> list[str]:
        file = self.directory / "progress"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line)["stage"] for line in lines]

    @property
    def projects(self) -> list[Project]:
        return [each for each in self.platform.projects() if each.name == self.name]

    @property
    def services(self) -> list[str]:
        return [each for each in dokploy_live.services() if each.startswith(f"{self.name}-")]


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with ExitStack() as stack:
        yield Programs(stack, tmp_path)


def until(programs: Programs, stage: str) -> None:
    @tenacity.retry(
        stop=tenacity.stop_after_delay(120), wait=tenacity.wait_fixed(0.1), reraise=True
    )
    def reached() -> None:
        assert stage in programs.stages

    reached()


@pytest.mark.parametrize(
    "stage",
    ["creating-project", "creating-application", "configuring", "deploying", "health-check"],
)
def test_a_kill_leaves_one_stack_or_none_and_it_can_be_removed(
    programs: Programs, stage: str
) -> None:
    process = programs.deploying()
    until(programs, stage)
    process.kill()
    process.communicate()
    assert len(programs.projects) <= 1
    assert sum(len(each.application_ids) for each in programs.projects) <= 1
    code, said = programs.run("destroy", {"id": programs.id})
    assert code == Exit.OK, said
    assert (programs.projects, programs.services) == ([], [])


def test_a_restart_of_the_server_in_the_middle(programs: Programs) -> None:
    if not os.environ.get("DOKPLOY_RESTART"):
        pytest.skip("DOKPLOY_RESTART is not set: NOT RESTARTED")
    with dokploy_live.slow_registry(12.0) as registry:
        _, _, path = dokploy_live.image("one").partition("/")
        process = programs.deploying(image=f"{registry}/{path}")
        until(programs, "deploying")
        dokploy_live.restart()
        out, err = process.communicate(timeout=900)
    (project,) = programs.projects
    assert process.returncode == Exit.OK, out + err
    assert (len(project.application_ids), len(programs.services)) == (1, 1)


def test_rounds_leave_no_networks_and_no_services(programs: Programs) -> None:
    before = dokploy_live.networks()
    for _ in range(ROUNDS):
        process = programs.deploying()
        out, err = process.communicate(timeout=900)
        assert process.returncode == Exit.OK, out + err
        code, said = programs.run("destroy", {"id": programs.id})
        assert code == Exit.OK, said
    assert dokploy_live.networks() == before
    assert (programs.projects, programs.services) == ([], [])
