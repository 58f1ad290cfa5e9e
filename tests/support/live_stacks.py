"""The programs behind the stack formulas as processes that work on a real Dokploy."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import tenacity

from dispatcher.stack.dokploy import Connection, Dokploy
from dispatcher.stack.params import SETTINGS_FILE
from dispatcher.stack.platform import Application, Project
from tests.servers import dokploy_live

ROOT = Path(__file__).parents[2]
BLOB = "0" * 40


class Programs:
    """One stack, its run's directory, and the server.

    Args:
        url: of the server, if the programs are to take another way to it.
    """

    def __init__(self, stack: ExitStack, directory: Path, *, url: str = "") -> None:
        self.name = f"p{secrets.token_hex(4)}"
        self.id = f"stack-{self.name}"
        self.directory = directory
        self._key = os.environ["DOKPLOY_API_TOKEN"]
        self.platform = Dokploy(Connection(self._key, url=os.environ["DOKPLOY_URL"], timeout_s=120))
        self.port = stack.enter_context(dokploy_live.pages())
        settings = {
            "DOKPLOY_URL": url or os.environ["DOKPLOY_URL"],
            "STACK_DOMAIN_SUFFIX": "stacks.example",
            "STACK_IMAGE": dokploy_live.image("one"),
            "project": f"live-{secrets.token_hex(3)}",
            "probe_address": "127.0.0.1",
            "http_port": self.port,
            "limit_s": dokploy_live.LIMIT_S,
        }
        (directory / SETTINGS_FILE).write_text(json.dumps(settings))
        stack.callback(dokploy_live.remove_volume, f"workspace-{self.name}")
        stack.callback(self.run, "destroy", {"id": self.id})

    def deploying(self, **params: Any) -> subprocess.Popen[str]:
        return self.start("deploy", {"name": self.name, "https": False, **params})

    def updating(self, number: int, image: str) -> subprocess.Popen[str]:
        """A run of its own, by its number."""
        key = f"update-{number}-{self.id}.{BLOB}"
        return self.start("update", {"id": self.id, "image": image}, DISINTO_RUN_KEY=key)

    def run(self, program: str, params: dict[str, Any]) -> tuple[int, str]:
        return ended(self.start(program, params))

    def start(self, program: str, params: dict[str, Any], **environ: str) -> subprocess.Popen[str]:
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
                **environ,
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
    def entry(self) -> dict[str, Any]:
        """The inventory entry in the outputs; {} for none."""
        file = self.directory / "outputs"
        return dict(json.loads(file.read_text())["inventory"]) if file.exists() else {}

    @property
    def projects(self) -> list[Project]:
        return [each for each in self.platform.projects() if each.name == self.name]

    @property
    def applications(self) -> list[Application]:
        ids = [each for project in self.projects for each in project.application_ids]
        return [each for each in map(self.platform.application, ids) if each is not None]

    @property
    def services(self) -> list[str]:
        return [each for each in dokploy_live.services() if each.startswith(f"{self.name}-")]


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and output of a program, at its end."""
    out, err = process.communicate(timeout=900)
    return process.returncode, out + err


def until(programs: Programs, stage: str) -> None:
    """Wait until a run has reported a stage."""

    @tenacity.retry(
        stop=tenacity.stop_after_delay(120), wait=tenacity.wait_fixed(0.1), reraise=True
    )
    def reached() -> None:
        assert stage in programs.stages

    reached()
