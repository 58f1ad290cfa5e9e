"""What a run leased works while it runs and never after, however the run and its dispatcher end.

A real PostgreSQL and PKI behind a real OpenBao; runs as local processes and as jobs of a real Nomad.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.servers.postgres import Postgres
from tests.support.cli_process import disinto
from tests.support.leased import LeasedScene, eventually, runner_of
from tests.support.serving import Served, all_results, serving
from tests.support.thorough import tries

pytestmark = [pytest.mark.needs("bao", "postgres", "git"), pytest.mark.slow]

ENDS = {
    "good": "good",
    "bad": "bad",
    "slow": "endless",
    "stopped": "endless",
    "killed": "endless",
}
"""Formula by id."""

LONGEST_RUN_S = tries(15, 25)

Set = Callable[..., LeasedScene]


@pytest.fixture(params=["local", pytest.param("nomad", marks=pytest.mark.needs("nomad"))])
def set_scene(
    request: pytest.FixtureRequest, bao_server: Bao, postgres_server: Postgres, tmp_path: Path
) -> Iterator[Set]:
    nomad: Nomad | None = None
    if request.param == "nomad":
        nomad = request.getfixturevalue("nomad")
        if not nomad.runs_here:
            pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
    made: list[Scene] = []

    def make(actions: dict[str, str], **settings: Any) -> LeasedScene:
        leased = LeasedScene.set(
            tmp_path, bao_server, postgres_server, actions=actions, nomad=nomad, settings=settings
        )
        made.append(leased.scene)
        return leased

    yield make
    for scene in made:
        scene.clear()


def test_nothing_works_after_the_run(set_scene: Set) -> None:
    leased = set_scene(ENDS, limits={"max_run_s": LONGEST_RUN_S})
    scene = leased.scene
    with serving(scene) as dispatcher:
        got = {name: leased.left(name) for name in ENDS}
        for name in ("stopped", "killed"):
            assert leased.works(got[name]) == (True, True), "while it runs"
        assert disinto("cancel", "stopped", "--config", str(scene.config), env=scene.environ)
        os.kill(runner_of("killed", scene.root.name), signal.SIGKILL)
        results = all_results(scene, ENDS)
        leased.nothing_works(*got.values())
    verdicts = {name: results[name]["verdict"] for name in ENDS}
    killed = verdicts.pop("killed")
    assert verdicts == {
        "good": "succeeded",
        "bad": "failed",
        "slow": "timed_out",
        "stopped": "cancelled",
    }, results
    assert killed in ("lost", "failed")
    _no_value_is_anywhere(leased, dispatcher, results)
    assert len({one.user for one in got.values()}) == len(ENDS), "each run has its own"


def _no_value_is_anywhere(leased: LeasedScene, dispatcher: Served, results: dict[str, Any]) -> None:
    seen = dispatcher.log.read_text() + repr(results)
    assert "[redacted:DB_PASSWORD]" in results["good"]["logs"] + results["bad"]["logs"] or (
        "[redacted:TLS_KEY]" in results["good"]["logs"]
    )
    for name in ENDS:
        got = leased.left(name)
        assert got.password not in seen
        assert not any(line in seen for line in got.key.splitlines()[1:-1])


def test_a_dispatcher_that_comes_back_ends_what_was_leased(set_scene: Set) -> None:
    leased = set_scene({"slow": "endless"}, limits={"max_run_s": tries(8, 15)})
    first = Served(leased.scene, name="first")
    try:
        got = leased.left("slow")
    finally:
        first.kill()
    assert leased.works(got) == (True, True), "the run goes on without a dispatcher"
    with serving(leased.scene, name="second"):
        results = all_results(leased.scene, ["slow"])
        leased.nothing_works(got)
    assert results["slow"]["verdict"] == "timed_out"


@pytest.mark.thorough
def test_with_nobody_left_the_grants_own_time_ends_it(set_scene: Set) -> None:
    leased = set_scene(
        {"slow": "endless"},
        limits={"max_run_s": 10},
        grants={"placement_wait_s": 15, "margin_s": 1, "provisional_ttl_s": 15},
        nomad={"placement_wait_s": 15},
    )
    served = Served(leased.scene)
    try:
        got = leased.left("slow")
    finally:
        served.kill()
    os.kill(runner_of("slow", leased.scene.root.name), signal.SIGKILL)
    leased.nothing_works(got)


def test_what_cannot_be_had_is_an_error_before_the_formula(set_scene: Set) -> None:
    leased = set_scene({"good": "good"}, limits={"max_run_s": LONGEST_RUN_S})
    leased.database.bao.client().delete(f"{leased.database.mount}/roles/app")
    with serving(leased.scene):
        result = all_results(leased.scene, ["good"])["good"]
    assert result["verdict"] == "error"
    assert (
        f"PROD_DB ({leased.database.path}) could not be fetched (Vault returned" in result["error"]
    )
    assert "unknown role" in result["error"]
    assert not (leased.left_in / "good").exists()

    @eventually
    def no_user() -> None:
        assert not leased.database.leases()

    no_user()
