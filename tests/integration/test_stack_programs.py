"""The programs behind the stack formulas, as processes: environment and files in, requests and files out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from dispatcher.errors import Exit
from dispatcher.model.times import rfc3339
from dispatcher.settings.models import STACKS_AT_ONCE
from dispatcher.stack.environment import RUN
from dispatcher.stack.params import SETTINGS_FILE
from tests.servers.dokploy import KEY, FakeDokploy
from tests.servers.dokploy_http import serving
from tests.servers.dokploy_rules import Image
from tests.support.stage import eventually

ROOT = Path(__file__).parents[2]
BLOB = "0" * 40
ONE, BAD = "127.0.0.1:1/one:1", "127.0.0.1:1/bad:1"
SECRET = "canary-4b1d"


class Server:
    """The fake server on a port, and a run's directory."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        images = {ONE: Image.GOOD, f"{ONE}2": Image.GOOD, BAD: Image.CRASHES}
        self.fake = FakeDokploy(now=time.time, queue_s=0, pull_s=0, start_s=0, images=images)
        self.directory = directory
        url, port = stack.enter_context(serving(self.fake))
        settings = {
            "DOKPLOY_URL": url,
            "STACK_DOMAIN_SUFFIX": "stacks.example",
            "STACK_IMAGE": ONE,
            "probe_address": "127.0.0.1",
            "http_port": port,
        }
        (directory / SETTINGS_FILE).write_text(json.dumps(settings))

    def start(self, program: str, params: dict[str, Any], **environ: str) -> subprocess.Popen[str]:
        for name in ("outputs", "progress"):
            (self.directory / name).unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "dispatcher.stack", program],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DISINTO_RUN_KEY": f"stack-alice.{BLOB}",
                "DISINTO_PARAMS": json.dumps(params),
                "DISINTO_FILES": str(self.directory),
                "DISINTO_OUTPUTS": str(self.directory / "outputs"),
                "DISINTO_PROGRESS": str(self.directory / "progress"),
                "DOKPLOY_API_TOKEN": KEY,
                "MODEL_KEY": SECRET,
                **environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, params: dict[str, Any], **environ: str) -> tuple[int, str, str]:
        process = self.start(program, params, **environ)
        out, err = process.communicate(timeout=60)
        written = [f.read_text() for f in self.directory.iterdir() if f.name != SETTINGS_FILE]
        for secret in (KEY, SECRET):
            assert not [text for text in (out, err, *written) if secret in text]
        return process.returncode, out, err

    @property
    def outputs(self) -> Any:
        file = self.directory / "outputs"
        return json.loads(file.read_text()) if file.exists() else None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(stack, tmp_path)


STACK = {
    "name": "alice",
    "https": False,
    "environment": {"A": "b c"},
    "environment_secrets": ["MODEL_KEY"],
}


def test_a_stack_is_deployed_updated_and_destroyed(server: Server) -> None:
    code, out, err = server.run("deploy", STACK)
    assert (code, err) == (Exit.OK, "")
    assert out.endswith("the stack is running: http://alice.stacks.example/ (GET /health: 200)\n")
    (service,) = server.fake.services.values()
    assert service.environment.pop(RUN) == f"stack-alice.{BLOB}"
    assert service.environment == {"A": "b c", "MODEL_KEY": SECRET}
    entry = server.outputs["inventory"]
    assert (entry["id"], entry["image"], entry["state"]) == ("stack-alice", ONE, "RUNNING")
    lines = (server.directory / "progress").read_text().splitlines()
    assert json.loads(lines[-1]) == {
        "stage": "running", "percent": 100, "detail": "alice.stacks.example",
    }  # fmt: skip
    code, _, err = server.run("update", {"id": "stack-alice", "image": f"{ONE}2"})
    assert code == Exit.FAILED
    assert "there may be no way back" in err
    update = {"id": "stack-alice", "image": f"{ONE}2", "without_return": True}
    code, out, err = server.run("update", update, DISINTO_RUN_KEY=f"update-1.{BLOB}")
    assert (code, err) == (Exit.OK, "")
    assert server.outputs["image_seen"] == f"{ONE}2"
    assert server.run("destroy", {"id": "stack-alice"})[0] == Exit.OK
    assert (server.fake.projects, server.fake.services) == ({}, {})
    assert server.outputs["inventory"] == {"id": "stack-alice"}


def test_a_run_that_is_stopped_leaves_nothing(server: Server) -> None:
    process = server.start("deploy", {**STACK, "image": BAD})

    @eventually
    def deployed() -> None:
        assert server.fake.deployments

    deployed()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "cancelled: nothing is left\n")
    assert (server.fake.projects, server.fake.services, server.outputs) == ({}, {}, None)


def test_what_is_left_over_is_listed_and_removed(server: Server) -> None:
    mark = f"disinto:disinto:lost:{BLOB}"
    server.fake.now = lambda: time.time() - 3600
    server.fake.answer("project.create", {}, {"name": "lost", "description": mark}, KEY)
    at = {"listed_at": rfc3339(time.time())}
    _, out, _ = server.run("reap", at)
    assert "1 projects at the server, 1 left over" in out
    assert len(server.fake.projects) == 1
    assert server.run("reap", {**at, "remove": True})[0] == Exit.OK
    assert server.fake.projects == {}


def test_what_cannot_work_makes_nothing(server: Server) -> None:
    code, _, err = server.run("deploy", {"name": "admin"})
    assert (code, err) == (Exit.DATAERR, "[params]: the name admin is reserved. Choose another.\n")
    code, _, err = server.run("deploy", STACK, DOKPLOY_API_TOKEN="x")
    assert code == Exit.FAILED
    assert "rejected the API key (401)" in err
    assert (server.fake.projects, server.outputs) == ({}, None)


def test_ten_domains_at_a_moment_stop_the_fake_as_they_do_the_original() -> None:
    server = FakeDokploy(now=time.time)

    def domains(url: str, count: int) -> list[int | None]:
        def one(_: int) -> int | None:
            with suppress(httpx.HTTPError):
                return httpx.post(f"{url}/api/domain.create", json={}, timeout=2).status_code
            return None

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    with serving(server) as (url, _):
        assert domains(url, STACKS_AT_ONCE) == [HTTPStatus.UNAUTHORIZED] * STACKS_AT_ONCE
        assert None in domains(url, 50)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{url}/api/project.all", timeout=0.5)
