"""Releases of two real services, with real git, uv and migrations; systemd is replaced by a supervisor."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.devservers.ports import free_port
from dispatcher.release.health import get
from dispatcher.release.outcome import Outcome
from tests.support.release_scenarios import LIB_2, SCENARIOS, Scenario
from tests.support.release_services import (
    BACKEND,
    FILES,
    WORKER,
    ProcessUnits,
    build_wheels,
    env_files,
    release_toml,
)
from tests.support.release_stage import ReleaseStage
from tests.support.thorough import some

pytestmark = pytest.mark.needs("git")


class Services(ReleaseStage):
    """The stage with real services."""

    def __init__(self, tmp: Path) -> None:
        self.port = free_port()
        wheels = build_wheels(tmp / "wheels", (1, 2))
        root = tmp / "shop"
        root.mkdir()
        self.processes = ProcessUnits(root, {BACKEND: "app.py", WORKER: "jobs.py"})
        super().__init__(
            tmp,
            release=release_toml(tmp / "remote.git", wheels, self.port),
            units=self.processes,
            get=get,
            files=FILES,
        )
        for service, text in env_files(root, self.port).items():
            (root / "env" / f"{service}.env").write_text(text)

    def answer(self) -> dict[str, Any]:
        """What the API says about itself."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as reply:
            return dict(json.load(reply))

    def written(self) -> set[str]:
        """Versions of the library by which the worker has written."""
        with sqlite3.connect(self.root / "run" / "shop.sqlite3") as db:
            return {name for (name,) in db.execute("SELECT DISTINCT name FROM items")}

    def runs(self) -> tuple[str, str]:
        """The present run of each service; both are active."""
        states = [self.units.state(unit) for unit in (BACKEND, WORKER)]
        assert all(state.active for state in states)
        return states[0].invocation, states[1].invocation

    def assert_healthy(self, commit: str, *, lib: str) -> None:
        """Both services run wholly on a commit."""
        answer = self.answer()
        assert answer["lib"] == lib
        assert answer["version"].endswith(f"+{commit[:7]}")
        assert (self.safe, self.head(), self.clean()) == (commit, commit, "")
        assert lib in self.written()
        self.runs()


def lock(directory: Path) -> None:
    """Write uv.lock, as a developer does."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "lock", "--quiet", "--offline", "--project", directory], check=True)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = Services(tmp_path)
    try:
        last = made.deploy()
        assert last.outcome == Outcome.DEPLOYED, made.log
        made.assert_healthy(made.first, lib="1")
        yield made
    finally:
        made.processes.stop_all()


@pytest.mark.parametrize(
    "scenario",
    some(SCENARIOS, always=[s for s in SCENARIOS if s.name == "does not start"]),
    ids=lambda scenario: scenario.name.replace(" ", "-"),
)
def test_services_end_healthy(scenario: Scenario, services: Services) -> None:
    before = services.runs()
    commit = services.push(scenario.files)
    last = services.tick()
    assert last.outcome == scenario.outcome, services.log
    assert scenario.message in last.message
    deployed = last.outcome == Outcome.DEPLOYED
    services.assert_healthy(commit if deployed else services.first, lib="2" if deployed else "1")
    assert (services.runs() != before) == scenario.restarts
    assert tuple(services.answer()["columns"]) == scenario.columns
    assert "hunter2" not in services.log
    assert services.tick().outcome == (Outcome.UP_TO_DATE if deployed else Outcome.NOT_RETRIED)


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["begin", "end"])
@pytest.mark.parametrize(
    "step", ["checkout", "dependencies", "migrations", "smoke", "stamp", "restart", "health"]
)
def test_killed_at_a_step(step: str, when: str, services: Services) -> None:
    services.push(LIB_2)
    services.killed(step, when)
    assert services.tick().outcome == Outcome.ROLLED_BACK
    services.assert_healthy(services.first, lib="1")


@pytest.mark.thorough
def test_the_default_install(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """``uv sync --frozen`` into the environment of the commit."""
    text = (services.root / "release.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("install")]
    (services.root / "release.toml").write_text("\n".join(lines) + "\n")
    wheel = services.root.parent / "wheels" / "shoplib-2-py3-none-any.whl"
    for name in ("backend", "worker"):
        project = services.work / name / "pyproject.toml"
        project.write_text(
            f'[project]\nname = "{name}"\nversion = "1"\nrequires-python = ">=3.11"\n'
            f'dependencies = ["shoplib"]\n[tool.uv.sources]\nshoplib = {{ path = "{wheel}" }}\n'
        )
        lock(project.parent)
    commit = services.push({})
    python = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{python}:{os.environ['PATH']}")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_PYTHON", sys.executable)
    last = services.tick()
    assert last.outcome == Outcome.DEPLOYED, services.log
    services.assert_healthy(commit, lib="2")
