"""Faults on a real Nomad: whatever dies, each action runs at most once and gets the right result.

What ran is counted by the formulas themselves. A fault is a function over a stage; most of them
mostly wait (for a lock to run out, a node to be given up, an agent to come back), so that those
which are to be tested run beside each other, and each test looks at its own. Runs are raw_exec:
what is tested is the dispatcher, and any machine with ``nomad`` can do it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from dispatcher.devservers import nomad as agents
from dispatcher.devservers.nomad_forget import free_lead
from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.servers.cut import way_to
from tests.servers.nomad import Nomad
from tests.servers.nomad_client import second_client
from tests.support import deaths
from tests.support.deaths import (
    BOUNDARIES,
    action,
    path,
    runs,
    serve_once,
)
from tests.support.evidence import (
    children,
    live_grants,
    operator_api,
    variables,
)
from tests.support.fault_stage import (
    Stage,
    assert_all_dead,
    assert_all_run,
    assert_at_least,
    assert_equal,
    assert_failed,
    nomad,
    until_at_rest,
    whole,
)
from tests.support.serving import Served, all_results, serving
from tests.support.two_on_nomad import (
    WITHIN_S,
    eventually,
    open_gate,
    state_of_process,
    until_both_run,
)

pytestmark = [
    pytest.mark.needs("nomad", "bao", "git"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


BESIDE_EACH_OTHER = 6


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
    with agents.start(Nomad) as own, stage.scene("collected", nomad=own) as scene:
        code, _ = serve_once(scene, "after submit")
        assert code == -signal.SIGKILL
        api = operator_api(scene)
        until_one_ran(scene)
        eventually(lambda: assert_all_dead(api.jobs(prefix="scene-")))()
        own.collect_garbage()
        eventually(lambda: assert_equal(children(scene), []))()
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


# -- two dispatchers -------------------------------------------------------------------------


def three_race_and_the_leader_dies(stage: Stage) -> None:
    with stage.scene("race", waits=True) as scene:
        served = [Served(scene, name=f"racer-{number}") for number in range(3)]
        try:
            until_both_run(scene)
            eventually(lambda: assert_equal(_say(served, "waiting_for_lead"), 2))()
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
                "tests.support.faulty",
                str(scene.config),
                "before dispatch",
                "freeze",
            ),
        )
        try:
            eventually(lambda: assert_equal(state_of_process(frozen.process.pid), "T"))()
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


@eventually
def _until_late_children_are_dead(scene: Scene) -> list[str]:
    late = children(scene)
    assert late
    assert_failed(scene, late)
    return late


@eventually
def _until_dead_without_a_run(scene: Scene, ids: list[str]) -> None:
    assert_failed(scene, ids)
    assert runs(scene) == {"good": 1, "bad": 1}


# -- Nomad is in trouble ---------------------------------------------------------------------


def an_agent_is_stopped_and_started(how: str, stage: Stage) -> None:
    """Runs go on without it; what is merged meanwhile runs when it is back."""
    with (
        agents.start(Nomad, keeps_state=True) as own,
        stage.scene(f"agent {how}", nomad=own, waits=True) as scene,
        serving(scene) as dispatcher,
    ):
        until_both_run(scene)
        own.kill() if how == "killed" else own.stop()
        dispatcher.until("down", within_s=WITHIN_S)
        scene.merge({path("late"): action("late", "good", "late")}, "Add one more")
        open_gate(scene)
        own.restart()
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
    """The state of a time when both waited for placement: their claims and children are back, and
    the children are started a second time. The grant, used up and revoked, stops them."""
    with (
        agents.start(Nomad, keeps_state=True) as own,
        stage.scene("snapshot", nomad=own) as scene,
    ):
        snapshot = str(scene.root / "nomad.snap")
        nomad(own, "node", "eligibility", "-disable", "-self")
        with serving(scene, name="before"):
            eventually(lambda: assert_equal(len(children(scene)), 2))()
            eventually(lambda: assert_equal(variables(scene) & CLAIMS, CLAIMS))()
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
        eventually(lambda: assert_all_run(api, children(scene)))()
        client.kill()
        client.wait()
        results = all_results(scene, deaths.ACTIONS, within_s=WITHIN_S)
        for name in deaths.ACTIONS:
            assert results[name]["verdict"] == "lost", results[name]
            assert "stopped responding" in results[name]["error"]
        blobs = {result["blob"] for result in results.values()}
        assert live_grants(stage.bao, deaths.ACTIONS, blobs=blobs) == []
        open_gate(scene)
        assert runs(scene) == {"good": 1, "bad": 1}
        until_at_rest(scene)


def the_event_stream_is_cut(stage: Stage) -> None:
    """It is a hint: without it the lists tell the same, a little later."""
    with (
        way_to(stage.nomad.addr, needle="/v1/event/stream") as way,
        stage.scene("cut", waits=True) as scene,
        serving(scene, environ={"NOMAD_ADDR": way.addr}),
    ):
        until_both_run(scene)
        eventually(lambda: assert_at_least(way.seen, 1))()
        way.cut()
        open_gate(scene)
        whole(stage, scene)
        before = way.seen
        way.mend()
        eventually(lambda: assert_at_least(way.seen, before + 1))()
        scene.merge({path("late"): action("late", "good", "late")}, "Add one more")
        assert all_results(scene, ["late"])["late"]["verdict"] == "succeeded"


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
    with agents.start(Nomad) as nomad, ThreadPoolExecutor(BESIDE_EACH_OTHER) as pool:
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
