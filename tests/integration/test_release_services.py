"""Releases of two real services, with real git, uv and migrations; systemd is replaced by a supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.release.outcome import Outcome
from tests.support.release_live import Services
from tests.support.release_scenarios import LIB_2, SCENARIOS, Scenario
from tests.support.thorough import some

pytestmark = pytest.mark.needs("git")


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
