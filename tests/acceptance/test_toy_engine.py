"""An engine that another package brings, from settings to result: no module of ours names it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.devservers.ports import free_port
from dispatcher.engines import registry
from tests.servers.bao import Bao
from tests.support.cli_process import Said, disinto, started

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.needs("bao", "git"), pytest.mark.slow]

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True
)


def install(site: Path) -> None:
    """What installing the package of the engine leaves for Python to find."""
    info = site / "toy_engine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-engine\nVersion: 1.0\n")
    points = f"[{registry.GROUP}]\ntoy = tests.support.toy_engine:ENGINE\n"
    (info / "entry_points.txt").write_text(points)


class Installation:
    """A directory made by 'disinto init', whose runs go to the toy engine."""

    def __init__(self, root: Path, bao: Bao) -> None:
        install(root / "site")
        self.folder = root / "here"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "PYTHONPATH": f"{root / 'site'}:{ROOT}",
            "VAULT_ADDR": bao.addr,
            "VAULT_TOKEN": bao.root_token,
            "DISINTO_VAULT__KV_MOUNT": "kv-toy",
            "DISINTO_HTTP__LISTEN": f"127.0.0.1:{free_port()}",
        }
        assert disinto("init", "here", env=self.env, cwd=root).code == 0
        self.settings = self.folder / "disinto.toml"
        text = self.settings.read_text()
        assert '#scheduler = "local"' in text
        text = text.replace('#scheduler = "local"', 'scheduler = "toy"')
        self.settings.write_text(text + "\n[toy]\nniceness = 3\n")
        policy = self.folder / "policy.toml"
        tiers = '[tiers]\ncount = "low"\nslow = "low"\n'
        policy.write_text(policy.read_text().replace("[tiers]\n", tiers))
        self.ran = root / "ran"
        formulas = self.folder / "formulas"
        (formulas / "count.sh").write_text(f"echo ran >> {self.ran}\nnice\n")
        (formulas / "slow.sh").write_text("echo begun\nsleep 300\n")

    def __call__(self, *words: str) -> Said:
        return disinto(*words, env=self.env, cwd=self.folder)

    def dispatch(self, action_id: str, formula: str) -> None:
        file = self.folder / f"{action_id}.toml"
        file.write_text(f'id = "{action_id}"\nformula = "{formula}"\ncontext = "c"\nsecrets = []\n')
        said = self("dispatch", "--no-follow", file.name)
        assert said.code == 0, said.err

    def result(self, action_id: str) -> Any:
        """The file in git."""
        name = f"main:vault/actions/{action_id}.result.json"
        git = ["git", "-C", str(self.folder / "ops.git"), "show", name]
        return json.loads(subprocess.run(git, check=True, capture_output=True).stdout)

    @eventually
    def until(self, action_id: str, state: str) -> None:
        assert self("status", action_id, "--json").json["state"] == state


@pytest.fixture(scope="module")
def here(bao_server: Bao, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = Installation(tmp_path_factory.mktemp("toy"), bao_server)
    said = installation("apply", "--yes")
    assert said.code == 0, said.err
    return installation


@pytest.fixture(scope="module")
def served(here: Installation) -> Iterator[None]:
    with started("serve", env=here.env, cwd=here.folder) as process:

        @eventually
        def leads() -> None:
            assert here("status", "--json").json["leader"]

        leads()
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.usefixtures("served")
def test_a_merged_action_runs_once_and_its_result_names_the_engine(here: Installation) -> None:
    here.dispatch("count-1", "count")
    here.until("count-1", "finished")
    assert here.ran.read_text() == "ran\n"
    logs = here("logs", "count-1")
    assert f"{os.nice(0) + 3}\n" in logs.out  # the section's own key reached the runner
    assert here("verify", "count-1").code == 0
    result = here.result("count-1")
    assert result["verdict"] == "succeeded"
    assert result["engine"]["kind"] == "toy"
    assert result["engine"]["alloc"].startswith("count-1.")


@pytest.mark.usefixtures("served")
def test_a_run_is_followed_and_cancelled(here: Installation) -> None:
    here.dispatch("slow-1", "slow")
    here.until("slow-1", "running")

    @eventually
    def begun() -> None:
        assert here("logs", "slow-1").out == "begun\n"

    begun()
    said = here("cancel", "slow-1")
    assert said.code == 0, said.err
    here.until("slow-1", "finished")
    assert here.result("slow-1")["verdict"] == "cancelled"


def test_doctor_makes_the_checks_of_the_engine(here: Installation) -> None:
    checks = {check["name"]: check for check in here("doctor", "--json").json["checks"]}
    assert checks["toy: shell"]["ok"]
    assert not any(name.startswith(("local", "nomad")) for name in checks)


def test_the_model_of_the_engine_judges_its_section(here: Installation) -> None:
    good = here.settings.read_text()
    try:
        here.settings.write_text(good.replace("niceness = 3", 'niceness = 30\nshel = "bash"'))
        said = here("status")
        assert "toy.niceness must be from 0 to 19" in said.err
        assert 'unknown key "shel" in [toy]' in said.err
        here.settings.write_text(good.replace("niceness = 3", 'niceness = 3\nshell = "fish"'))
        assert "fish is never nice" in here("status").err
    finally:
        here.settings.write_text(good)
    schema = here("schema", "settings").json
    assert schema["properties"]["scheduler"]["enum"] == ["local", "nomad", "toy"]
