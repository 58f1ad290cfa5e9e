"""Three servers and two clients: whatever part of a Nomad dies, each action starts once, gets the
right verdict and has its result; and a run whose node is down says so.

The dispatcher talks to a client's agent, as it does in a cluster. Runs are raw_exec, so their
processes outlive the agent that started them, as containers do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dispatcher.devservers.scene import Scene
from tests.servers import nomad_cluster
from tests.servers.bao import Bao
from tests.servers.nomad_cluster import FAR, NEAR, Cluster
from tests.support import deaths
from tests.support.deaths import action, path, runs
from tests.support.evidence import RESTING_VARIABLES, children, live_grants, variables
from tests.support.serving import ROOT, Served, all_results, serving
from tests.support.two_on_nomad import (
    WITHIN_S,
    cleared,
    ended_well,
    eventually,
    open_gate,
    set_two,
    state_of_process,
    until_both_run,
)

pytestmark = [
    pytest.mark.needs("nomad", "bao", "git"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with nomad_cluster.serve() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """Whole, whatever the test before did to it."""
    shared.mend()
    return shared


@contextmanager
def set_scene(
    root: Path, server: Bao, cluster: Cluster, *, pool: str = NEAR, **nomad_settings: Any
) -> Iterator[Scene]:
    """Two actions, good and bad, whose formulas wait until ``open_gate``."""
    scene = set_two(
        root, server, nomad=cluster.agent, max_run_s=600, node_pool=pool, **nomad_settings
    )
    with cleared(scene):
        try:
            yield scene
        finally:
            cluster.mend()


@eventually
def until_at_rest(scene: Scene) -> None:
    assert variables(scene) >= RESTING_VARIABLES
    assert not [name for name in variables(scene) if name in ("claims/good", "claims/bad")]
    assert children(scene) == []


def whole(scene: Scene, server: Bao) -> None:
    """Everything went as if nothing had happened, and nothing is left."""
    ended_well(scene, server)
    until_at_rest(scene)


@pytest.mark.parametrize("boundary", ["before dispatch", "after dispatch"])
def test_the_leading_server_dies_together_with_the_dispatcher(
    boundary: str, cluster: Cluster, bao_server: Bao, tmp_path: Path
) -> None:
    with set_scene(tmp_path, bao_server, cluster) as scene:
        dying = Served(
            scene,
            name="dying",
            arguments=("-m", "tests.support.faulty", str(scene.config), boundary, "freeze"),
        )
        try:
            until_stopped(dying)
            leader = cluster.leader()
            leader.kill()
        finally:
            dying.kill()
        assert cluster.until_led() is not leader
        with serving(scene):
            until_both_run(scene)
            open_gate(scene)
            whole(scene, bao_server)


@eventually
def until_stopped(served: Served) -> None:
    assert state_of_process(served.process.pid) == "T", served.log.read_text()


def test_the_quorum_is_lost_and_regained(cluster: Cluster, bao_server: Bao, tmp_path: Path) -> None:
    with set_scene(tmp_path, bao_server, cluster) as scene, serving(scene) as dispatcher:
        until_both_run(scene)
        lost = [cluster.leader()]
        lost += [server for server in cluster.servers.values() if server is not lost[0]][:1]
        for server in lost:
            server.kill()
        dispatcher.until("lead_lost", within_s=WITHIN_S)  # nobody can renew its lease
        scene.merge({path("late"): action("late", "good", "late")}, "Add one more")
        open_gate(scene)  # they end while no server can take note of it
        for server in lost:
            server.start()
        cluster.until_led()
        results = all_results(scene, [*deaths.ACTIONS, "late"], within_s=WITHIN_S)
        assert {name: result["verdict"] for name, result in results.items()} == {
            "good": "succeeded",
            "bad": "failed",
            "late": "succeeded",
        }
        assert runs(scene) == {"good": 1, "bad": 1, "late": 1}
        until_at_rest(scene)


def test_a_client_comes_back_after_its_grace_and_its_runs_were_never_lost(
    cluster: Cluster, bao_server: Bao, tmp_path: Path
) -> None:
    with (
        set_scene(tmp_path, bao_server, cluster, pool=FAR, node_wait_s=600) as scene,
        serving(scene),
    ):
        until_both_run(scene)
        until_told_running(scene)
        cluster.clients[FAR].kill()
        until_told_down(scene)
        open_gate(scene)  # they end while nobody looks after them
        cluster.clients[FAR].start()
        whole(scene, bao_server)


def test_runs_of_a_client_that_never_comes_back_are_lost(
    cluster: Cluster, bao_server: Bao, tmp_path: Path
) -> None:
    with (
        set_scene(tmp_path, bao_server, cluster, pool=FAR, node_wait_s=5) as scene,
        serving(scene),
    ):
        until_both_run(scene)
        until_told_running(scene)
        cluster.clients[FAR].kill()
        results = all_results(scene, deaths.ACTIONS, within_s=WITHIN_S)
        for name in deaths.ACTIONS:
            assert results[name]["verdict"] == "lost", results[name]
            assert f"the node {FAR} stopped responding" in results[name]["error"]
        blobs = {result["blob"] for result in results.values()}
        assert live_grants(bao_server, deaths.ACTIONS, blobs=blobs) == []
        assert runs(scene) == {"good": 1, "bad": 1}
        cluster.clients[FAR].start()
        cluster.until_ready(FAR)
        until_at_rest(scene)
        assert runs(scene) == {"good": 1, "bad": 1}
        assert scene.results() == results


@eventually
def until_told_running(scene: Scene) -> None:
    for entry in told(scene, "status", "--json")["open"]:
        assert (entry["state"], entry["node"], entry["reason"]) == ("running", FAR, None)


@eventually
def until_told_down(scene: Scene) -> None:
    """In ``status``, for people and as JSON, and in ``plan``."""
    for entry in told(scene, "status", "--json")["open"]:
        assert (entry["state"], entry["node"]) == ("running", FAR)
        assert f"node {FAR} is down since" in entry["reason"]
        assert "waiting for it to return or be declared lost" in entry["reason"]
    assert f"node {FAR} is down since" in said(scene, "status")
    assert f"node {FAR} is down since" in said(scene, "plan")


def told(scene: Scene, *words: str) -> Any:
    return json.loads(said(scene, *words))


def said(scene: Scene, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher", "--config", str(scene.config), *words],
        env={**scene.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout
