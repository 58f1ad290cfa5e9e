"""``disinto doctor --deep``: one run goes the whole way, and nothing of it is left."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest

from dispatcher.assembly import open_vault
from dispatcher.devservers.scene import Scene
from dispatcher.engines.base import Scheduler
from dispatcher.engines.local.scheduler import LocalScheduler
from dispatcher.model.checks import Check
from dispatcher.model.run import Outcome, RunSpec, RunState, WrappedGrant
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.trial_run import Trial
from dispatcher.vault import Grants
from tests.fakes.scheduler import FakeScheduler
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.support.cli_process import disinto, started
from tests.support.stage import Stage, eventually

pytestmark = pytest.mark.needs("bao")


class Recorded(Grants):
    """Grants that remember what they minted."""

    minted: WrappedGrant | None = None

    def mint(self, *words: Any, **more: Any) -> WrappedGrant:
        self.minted = super().mint(*words, **more)
        return self.minted


def grants(stage: Stage) -> Recorded:
    settings = stage.scene.open_settings()
    return Recorded(open_vault(settings, stage.scene.environ), settings)


def trial(stage: Stage, of: Grants, scheduler: Scheduler) -> list[Check]:
    return list(Trial(stage.scene.open_settings(), of, scheduler).checks())


def is_dead(stage: Stage, of: Recorded) -> bool:
    """Whether neither the grant nor its wrapping is known to Vault any more."""
    assert of.minted is not None
    client = hvac.Client(url=stage.scene.server.addr, token=stage.scene.server.root_token)
    for accessor in (of.minted.grant.accessor, of.minted.grant.wrapping_accessor):
        try:
            client.auth.token.lookup_accessor(accessor)
        except hvac.exceptions.InvalidRequest:  # invalid accessor
            continue
        return False
    return True


def test_all_goes_well_on_a_real_engine(stage: Stage) -> None:
    settings, of = stage.scene.open_settings(), grants(stage)
    checks = trial(stage, of, LocalScheduler(settings))
    assert [c.name for c in checks if c.ok] == [
        "deep: grant",
        "deep: submit",
        "deep: run",
        "deep: clean-up",
    ], checks
    assert is_dead(stage, of)
    assert list((settings.state_dir / "runs").iterdir()) == []
    assert not stage.components.ledger.open_runs()
    assert stage.scene.results() == {}


def test_a_run_that_fails_is_told_with_its_reason(stage: Stage) -> None:
    class Broken(FakeScheduler):
        def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
            named = super().submit(spec, grant, again=again)
            why = "No module named dispatcher"
            self.end(spec.key, Outcome(verdict=Verdict.ERROR, exit_code=70, error=why))
            return named

    of, engine = grants(stage), Broken()
    failed = [c for c in trial(stage, of, engine) if not c.ok]
    assert [c.name for c in failed] == ["deep: run"]
    assert failed[0].detail == "error: No module named dispatcher"
    assert failed[0].remedy
    assert list(engine.kept()) == []
    assert is_dead(stage, of)


def test_an_interrupt_leaves_nothing(stage: Stage) -> None:
    of, engine = grants(stage), FakeScheduler()

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    run = Trial(stage.scene.open_settings(), of, engine, sleep=interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run.checks())
    assert [key.action_id[:7] for key in engine.cancelled] == ["doctor-"]
    assert list(engine.kept()) == []
    assert is_dead(stage, of)


def test_a_run_that_does_not_end_is_given_up(stage: Stage) -> None:
    of, engine = grants(stage), FakeScheduler()
    now = [0.0]

    def passed(seconds: float) -> None:
        now[0] += 60

    run = Trial(stage.scene.open_settings(), of, engine, sleep=passed, clock=lambda: now[0])
    (failed,) = [check for check in run.checks() if not check.ok]
    assert failed.name == "deep: run"
    assert f"not ended after 120 s: {RunState.RUNNING}" in failed.detail
    assert list(engine.kept()) == []
    assert is_dead(stage, of)


def test_the_command(stage: Stage) -> None:
    deep = deep_checks(stage.scene)
    assert [c["ok"] for c in deep] == [True] * 4, deep


def test_the_command_is_interrupted(stage: Stage) -> None:
    words = ("doctor", "--deep", "--config", str(stage.scene.config))
    state_dir = stage.scene.open_settings().state_dir
    with started(*words, env=stage.scene.environ) as process:

        @eventually
        def runs() -> None:
            assert list((state_dir / "runs").glob("doctor-*"))

        runs()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert list((state_dir / "runs").glob("doctor-*")) == []


@pytest.fixture
def nomad_scene(bao_server: Bao, nomad: Nomad, tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def make(**settings: Any) -> Scene:
        server = bao_server.with_own_mount()
        table = {"vault": {"kv_mount": server.kv_mount}, "nomad": settings}
        scenes.append(Scene.set(tmp_path, server, nomad=nomad, values={}, settings=table))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.clear()


@pytest.mark.needs("nomad")
def test_on_nomad_its_job_is_purged(nomad: Nomad, nomad_scene: Callable[..., Scene]) -> None:
    scene = nomad_scene(keep_finished_s=3600)
    deep = deep_checks(scene)
    assert [c["ok"] for c in deep] == [True] * 4, deep
    prefix = scene.open_settings().nomad.ledger_prefix
    assert not [j for j in nomad.api().jobs(prefix=f"{prefix}-runner") if "/dispatch-" in j["ID"]]


@pytest.mark.needs("nomad")
def test_on_nomad_a_runner_that_cannot_start_is_found(
    nomad: Nomad, nomad_scene: Callable[..., Scene]
) -> None:
    deep = deep_checks(nomad_scene(runner_command=[sys.executable, "-m", "no_such_module"]))
    (failed,) = [check for check in deep if not check["ok"]]
    assert failed["name"] == "deep: run"
    assert "No module named no_such_module" in failed["detail"]


def deep_checks(scene: Scene) -> list[dict[str, Any]]:
    words = ("doctor", "--deep", "--json", "--config", str(scene.config))
    said = disinto(*words, env=scene.environ)
    return [c for c in said.json["checks"] if c["name"].startswith("deep")]
