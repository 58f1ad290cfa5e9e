"""Faults on a real Nomad: whatever dies, each action runs at most once and gets the right result.

What ran is counted by the formulas themselves. A fault is a function over a stage; most of them
mostly wait (for a lock to run out, a node to be given up, an agent to come back), so that those
which are to be tested run beside each other, and each test looks at its own. Runs are raw_exec:
what is tested is the dispatcher, and any machine with ``nomad`` can do it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.devservers import nomad as agents
from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.nomad_forget import free_lead
from dispatcher.devservers.scene import Scene
from tests.acceptance import deaths
from tests.acceptance.deaths import (
    BOUNDARIES,
    action,
    assert_each_ran_once,
    path,
    runs,
    serve_once,
)
from tests.acceptance.evidence import (
    RESTING_VARIABLES,
    children,
    live_grants,
    operator_api,
    variables,
)
from tests.acceptance.serving import Served, all_results, serving
from tests.servers.bao import Bao
from tests.servers.cut import way_to
from tests.servers.nomad_client import second_client

pytestmark = [
    pytest.mark.needs("nomad", "bao", "git"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

PROVISIONAL_S = 8
BESIDE_EACH_OTHER = 6
WITHIN_S = 150
"""How long a wait may take on a busy machine."""

UNTIL_TOLD = """
until [ -e {gate} ]; do sleep 0.1; done
"""

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(WITHIN_S), wait=tenacity.wait_fixed(0.2), reraise=True
)


@dataclass(kw_only=True)
class Stage:
    """What a fault is played on.

    Attributes:
        nomad: an agent in memory, shared by all that do not stop it.
    """

    bao: Bao
    nomad: DevAgent
    folder: Path
    _turn: threading.Lock

    @contextmanager
    def scene(
        self,
        name: str,
        *,
        nomad: DevAgent | None = None,
        waits: bool = False,
        **nomad_settings: Any,
    ) -> Iterator[Scene]:
        """Two actions, good and bad.

        Args:
            waits: the formulas wait until ``open_gate``.
        """
        root = self.folder / name.replace(" ", "-")
        root.mkdir()
        with self._turn:  # they share what `apply` writes to the vault
            scene = deaths.set_scene(
                root,
                self.bao,
                nomad=nomad or self.nomad,
                marks=f"{root}/data/marks",
                script=UNTIL_TOLD.format(gate=f"{root}/data/gate") if waits else "",
                settings={
                    "limits": {"max_run_s": 300},
                    "grants": {"provisional_ttl_s": PROVISIONAL_S},
                    "nomad": {"lease_ttl_s": 10, **nomad_settings},
                },
            )
        try:
            yield scene
        finally:
            open_gate(scene)
            scene.clear()


def open_gate(scene: Scene) -> None:
    (scene.root / "data" / "gate").touch()


@eventually
def until_both_run(scene: Scene) -> None:
    assert runs(scene) == {"good": 1, "bad": 1}


@eventually
def until_at_rest(scene: Scene) -> None:
    assert variables(scene) == RESTING_VARIABLES


def whole(stage: Stage, scene: Scene) -> None:
    """Everything went as if nothing had happened, and nothing is left."""
    all_results(scene, deaths.ACTIONS, within_s=WITHIN_S)
    assert_each_ran_once(scene, stage.bao, orphans_for_s=PROVISIONAL_S * 5)
    until_at_rest(scene)
    assert children(scene) == []


# -- the dispatcher dies ---------------------------------------------------------------------


def dies_at(boundary: str, stage: Stage) -> None:
    with stage.scene(f"dies {boundary}") as scene:
        code, passed = serve_once(scene, boundary)
        assert code == -signal.SIGKILL, f"{boundary} was never reached: {passed}"
        free_lead(stage.nomad, scene.open_settings().nomad)  # else its time has to run out
        code, _ = serve_once(scene)
        assert code == 0
        whole(stage, scene)


def nothing_happens(stage: Stage) -> None:
    with stage.scene("nothing happens") as scene:
        code, passed = serve_once(scene)
        assert code == 0
        assert set(passed) == {*BOUNDARIES, *ON_NOMAD}
        whole(stage, scene)


def a_run_is_collected_while_nobody_looks(stage: Stage) -> None:
    """The garbage collector takes the child of a dead dispatcher: what it did is not known."""
    with agents.start(DevAgent) as own, stage.scene("collected", nomad=own) as scene:
        code, _ = serve_once(scene, "after record submitted")
        assert code == -signal.SIGKILL
        api = operator_api(scene)
        until_one_ran(scene)
        eventually(lambda: _assert_all_dead(api.jobs(prefix="scene-")))()
        api.system_gc()
        eventually(lambda: _assert_equal(children(scene), []))()
        free_lead(own, scene.open_settings().nomad)
        serve_once(scene)
        results = all_results(scene, deaths.ACTIONS)
        verdicts = {name: results[name]["verdict"] for name in deaths.ACTIONS}
        # One of the two was submitted, the other perhaps not yet: that one runs now.
        assert "lost" in verdicts.values(), verdicts
        for name, verdict in verdicts.items():
            assert runs(scene)[name] == 1
            assert verdict in ("lost", "succeeded" if name == "good" else "failed")
        lost = next(r for r in results.values() if r["verdict"] == "lost")
        assert "it is not run again" in lost["error"]
        assert lost["exit_code"] != 0
        assert live_grants(stage.bao, deaths.ACTIONS, blobs={lost["blob"]}) == []
        until_at_rest(scene)


@eventually
def until_one_ran(scene: Scene) -> None:
    assert runs(scene).total() >= 1


def _assert_all_dead(jobs: list[Any]) -> None:
    assert [job["Status"] for job in jobs if job["ParentID"] and job["Status"] != "dead"] == []


def _assert_equal(found: object, wanted: object) -> None:
    assert found == wanted


# -- two dispatchers -------------------------------------------------------------------------


def three_race_and_the_leader_dies(stage: Stage) -> None:
    with stage.scene("race", waits=True) as scene:
        served = [Served(scene, name=f"racer-{number}") for number in range(3)]
        try:
            until_both_run(scene)
            eventually(lambda: _assert_equal(_say(served, "waiting_for_lead"), 2))()
            assert _say(served, "leading") == 1
            leader = next(each for each in served if each.events("leading"))
            leader.kill()
            open_gate(scene)
            whole(stage, scene)
            assert _say(served, "leading") == 2
        finally:
            for each in served:
                each.kill()


def _say(served: list[Served], event: str) -> int:
    return sum(bool(each.events(event)) for each in served)


def a_frozen_leader_thaws_and_dispatches(stage: Stage) -> None:
    """It froze inside the dispatch, past its time: what it starts then stops at the grant."""
    with stage.scene("frozen") as scene:
        frozen = Served(
            scene,
            name="frozen",
            arguments=(
                "-m",
                "tests.acceptance.faulty",
                str(scene.config),
                "before dispatch",
                "freeze",
            ),
        )
        try:
            eventually(lambda: _assert_equal(_state(frozen), "T"))()
            assert runs(scene).total() == 0
            with serving(scene, name="second"):
                whole(stage, scene)
                before = scene.results()
                frozen.thaw()
                late = _until_late_children_are_dead(scene)
                frozen.until("lead_lost", within_s=WITHIN_S)
                assert late, "what it had in hand was dispatched"
                assert runs(scene) == {"good": 1, "bad": 1}, "no formula was started by it"
                assert scene.results() == before
        finally:
            frozen.kill()


def _state(served: Served) -> str:
    return Path(f"/proc/{served.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@eventually
def _until_late_children_are_dead(scene: Scene) -> list[str]:
    late = children(scene)
    assert late
    _assert_failed(scene, late)
    return late


@eventually
def _until_dead_without_a_run(scene: Scene, ids: list[str]) -> None:
    _assert_failed(scene, ids)
    assert runs(scene) == {"good": 1, "bad": 1}


def _assert_failed(scene: Scene, ids: list[str]) -> None:
    api = operator_api(scene)
    for child in ids:
        allocations = api.allocations(child)
        assert allocations
        assert allocations[0]["ClientStatus"] == "failed"


# -- Nomad is in trouble ---------------------------------------------------------------------


def an_agent_is_stopped_and_started(how: str, stage: Stage) -> None:
    """Runs go on without it; what is merged meanwhile runs when it is back."""
    with (
        agents.start(DevAgent, keeps_state=True) as own,
        stage.scene(f"agent {how}", nomad=own, waits=True) as scene,
        serving(scene) as dispatcher,
    ):
        until_both_run(scene)
        own.kill() if how == "killed" else own.stop()
        dispatcher.until("down", within_s=WITHIN_S)
        scene.merge({path("late"): action("late", "good", "late")}, "Add one more")
        open_gate(scene)
        own.start_again()
        results = all_results(scene, [*deaths.ACTIONS, "late"], within_s=WITHIN_S)
        assert {name: result["verdict"] for name, result in results.items()} == {
            "good": "succeeded",
            "bad": "failed",
            "late": "succeeded",
        }
        assert results["bad"]["exit_code"] == 3
        assert runs(scene) == {"good": 1, "bad": 1, "late": 1}
        until_at_rest(scene)
        assert children(scene) == []


def a_snapshot_is_restored(stage: Stage) -> None:
    """The state of a time when both waited for a place: their claims and children are back, and
    the children are started a second time. The grant, used up and revoked, stops them."""
    with (
        agents.start(DevAgent, keeps_state=True) as own,
        stage.scene("snapshot", nomad=own) as scene,
    ):
        snapshot = str(scene.root / "nomad.snap")
        nomad(own, "node", "eligibility", "-disable", "-self")
        with serving(scene, name="before"):
            eventually(lambda: _assert_equal(len(children(scene)), 2))()
            eventually(lambda: _assert_equal(variables(scene) & CLAIMS, CLAIMS))()
            nomad(own, "operator", "snapshot", "save", snapshot)
            nomad(own, "node", "eligibility", "-enable", "-self")
            whole(stage, scene)
        nomad(own, "operator", "snapshot", "restore", snapshot)
        assert variables(scene) >= CLAIMS
        again = children(scene)
        nomad(own, "node", "eligibility", "-enable", "-self")
        _until_dead_without_a_run(scene, again)
        with serving(scene, name="after"):
            whole(stage, scene)
            scene.merge({path("late"): action("late", "good", "late")}, "Add one more")
            assert all_results(scene, ["late"])["late"]["verdict"] == "succeeded"


CLAIMS = {"claims/good", "claims/bad"}


def nomad(server: DevAgent, *words: str) -> None:
    """Nomad's own command line."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(server.folder), **server.environ}
    subprocess.run(["nomad", *words], env=environ, check=True, capture_output=True)


def a_client_is_killed(stage: Stage) -> None:
    """Its node stops answering: after its time the run is lost, and nothing runs a second time."""
    pool = "second"
    with (
        second_client(stage.nomad, node_pool=pool) as client,
        stage.scene("client", waits=True, node_pool=pool, node_wait_s=3) as scene,
        serving(scene),
    ):
        until_both_run(scene)
        api = operator_api(scene)
        eventually(lambda: _assert_all_run(api, children(scene)))()
        client.kill()
        client.wait()
        results = all_results(scene, deaths.ACTIONS, within_s=WITHIN_S)
        for name in deaths.ACTIONS:
            assert results[name]["verdict"] == "lost", results[name]
            assert "stopped answering" in results[name]["error"]
        blobs = {result["blob"] for result in results.values()}
        assert live_grants(stage.bao, deaths.ACTIONS, blobs=blobs) == []
        open_gate(scene)
        assert runs(scene) == {"good": 1, "bad": 1}
        until_at_rest(scene)


def _assert_all_run(api: Any, ids: list[str]) -> None:
    """The servers know that they run, and not only the client."""
    assert len(ids) == len(deaths.ACTIONS)
    for child in ids:
        assert [a["ClientStatus"] for a in api.allocations(child)] == ["running"]


def the_event_stream_is_cut(stage: Stage) -> None:
    """It is a hint: without it the lists tell the same, a little later."""
    with (
        way_to(stage.nomad.addr, needle="/v1/event/stream") as way,
        stage.scene("cut", waits=True) as scene,
        serving(scene, environ={"NOMAD_ADDR": way.addr}),
    ):
        until_both_run(scene)
        eventually(lambda: _assert_at_least(way.seen, 1))()
        way.cut()
        open_gate(scene)
        whole(stage, scene)
        before = way.seen
        way.mend()
        eventually(lambda: _assert_at_least(way.seen, before + 1))()
        scene.merge({path("late"): action("late", "good", "late")}, "Add one more")
        assert all_results(scene, ["late"])["late"]["verdict"] == "succeeded"


def _assert_at_least(found: int, wanted: int) -> None:
    assert found >= wanted


def a_person_stops_the_children(stage: Stage) -> None:
    with stage.scene("by hand", waits=True) as scene, serving(scene):
        until_both_run(scene)
        api = operator_api(scene)
        for child in children(scene):
            api.stop(child)
        results = all_results(scene, deaths.ACTIONS)
        for name in deaths.ACTIONS:
            assert results[name]["verdict"] == "cancelled"
            assert results[name]["error"] == "stopped in Nomad, or by 'disinto cancel'"
            assert results[name]["exit_code"] != 0
        assert runs(scene) == {"good": 1, "bad": 1}
        until_at_rest(scene)


# -- all of them -----------------------------------------------------------------------------

ON_NOMAD = ["before dispatch", "after dispatch"]
"""Boundaries inside ``submit``: Nomad was told, and nobody has confirmed yet."""

Fault = Callable[[Stage], None]
FAULTS: dict[str, Fault] = {
    "an agent is stopped and started": partial(an_agent_is_stopped_and_started, "stopped"),
    "an agent is killed and started": partial(an_agent_is_stopped_and_started, "killed"),
    "a snapshot is restored": a_snapshot_is_restored,
    "a client is killed": a_client_is_killed,
    "three race and the leader dies": three_race_and_the_leader_dies,
    "a frozen leader thaws and dispatches": a_frozen_leader_thaws_and_dispatches,
    "a run is collected while nobody looks": a_run_is_collected_while_nobody_looks,
    "the event stream is cut": the_event_stream_is_cut,
    "a person stops the children": a_person_stops_the_children,
    "nothing happens": nothing_happens,
    **{f"the dispatcher dies {at}": partial(dies_at, at) for at in (*BOUNDARIES, *ON_NOMAD)},
}


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, bao_server: Bao, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """The faults of the tests that were selected, under way."""
    if agents.binary() is None:
        pytest.skip("needs `nomad` on PATH: agents are stopped here, and runs are raw_exec")
    chosen = [
        name
        for item in request.session.items
        if item.path == request.path and (name := getattr(item, "callspec").params.get("fault"))  # noqa: B009
    ]
    with agents.start(DevAgent) as nomad, ThreadPoolExecutor(BESIDE_EACH_OTHER) as pool:
        stage = Stage(
            bao=bao_server.with_own_mount(),
            nomad=nomad,
            folder=tmp_path_factory.mktemp("faults"),
            _turn=threading.Lock(),
        )
        yield {name: pool.submit(FAULTS[name], stage) for name in chosen}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault: str, played: dict[str, Future[None]]) -> None:
    played[fault].result()
