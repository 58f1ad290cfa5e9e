"""A Nomad job that is missing or was changed: ``status``, ``plan`` and ``/healthz`` say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity

from dispatcher.devservers.ports import free_port
from dispatcher.devservers.scene import Scene
from dispatcher.engines.nomad.render import runner_name
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.support.cli_process import Said, disinto
from tests.support.evidence import operator_api
from tests.support.serving import all_results, serving

pytestmark = [pytest.mark.needs("nomad", "bao", "git"), pytest.mark.slow]

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True
)
ACTION = 'id = "{id}"\nformula = "good"\ncontext = "c"\nsecrets = []\n'


@pytest.fixture
def scene(bao_server: Bao, nomad: Nomad, tmp_path: Path) -> Iterator[Scene]:
    server = bao_server.with_own_mount()
    scene = Scene.set(
        tmp_path,
        server,
        nomad=nomad,
        values={},
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "http": {"listen": f"127.0.0.1:{free_port()}"},
        },
        tiers={"good": "low"},
        formulas={"good.sh": "#!/bin/bash\necho fine\n"},
    )
    yield scene
    scene.clear()


def said(scene: Scene, *words: str) -> Said:
    return disinto(*words, "--config", str(scene.config), env=scene.environ)


def add(scene: Scene, action_id: str) -> None:
    scene.merge({f"vault/actions/{action_id}.toml": ACTION.format(id=action_id)}, "Add one")


def test_a_missing_job_and_then_a_changed_one_are_told(scene: Scene) -> None:
    api = operator_api(scene)
    settings = scene.open_settings()
    name = runner_name(settings.nomad, [])
    job: dict[str, Any] = dict(api.job(name) or {})
    api.stop(name, purge=True)
    missing = f"the job {name} is not registered with Nomad. Run `disinto apply`."
    add(scene, "one")

    assert missing in said(scene, "status", "one").out, "nobody serves: it is worked out"
    (step,) = said(scene, "plan", "--json").json["steps"]
    assert (step["step"], step["reason"]) == ("launch", missing)

    with serving(scene):
        waits_for_the_job(scene, missing)
        job["TaskGroups"][0]["Tasks"][0]["Resources"]["MemoryMB"] += 1
        api.register(job)
        assert all_results(scene, ["one"])["one"]["verdict"] == "succeeded"
        health = httpx.get(f"http://{settings.http.listen}/readyz")
        assert health.status_code == 200, "drift is no reason to restart anything"
        (warning,) = health.json()["warnings"]
        assert f"the job {name} differed from the rendered" in warning
        assert "MemoryMB" in warning
        assert f"warning  {warning}" in said(scene, "status").out

        assert (
            disinto("apply", "--yes", "--config", str(scene.config), env=scene.operator).code == 0
        )
        add(scene, "two")
        assert all_results(scene, ["two"])["two"]["verdict"] == "succeeded"
        assert httpx.get(f"http://{settings.http.listen}/healthz").json()["warnings"] == []
    api.close()


@eventually
def waits_for_the_job(scene: Scene, missing: str) -> None:
    told = said(scene, "status", "one", "--json").json
    assert told["reason"] == f"a step failed and will be retried: {missing}"
