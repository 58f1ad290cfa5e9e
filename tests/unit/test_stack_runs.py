"""Making, changing and removing stacks on a fake server: exactly one stack, or none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from dispatcher.provision.http import Raw
from dispatcher.provision.waiting import Cancelled
from dispatcher.stack.deploy import NoStack
from dispatcher.stack.environment import RUN
from dispatcher.stack.lifecycle import TOTAL_S, Stage
from dispatcher.stack.removal import StillThere
from tests.servers.dokploy import KEY, SECRET_OF_THE_SERVER, FakeDokploy
from tests.servers.dokploy_rules import Fault
from tests.support.desktops import START, Killed, Steps
from tests.support.stacks import BAD, BROKEN_BY_B, GONE, ONE, SECRET, SILENT, TWO, Stacks

CREATIONS = (
    "project.create", "application.create", "mounts.create", "domain.create", "application.deploy",
)  # fmt: skip
UNCLEAR = [
    Fault.LATE,
    Fault.LOST_AFTER,
    Fault.LOST_BEFORE,
    Fault.ERROR_AFTER,
    Fault.ERROR_BEFORE,
    Fault.GARBAGE,
]


def one_of_each(server: FakeDokploy) -> None:
    (project,) = server.projects.values()
    (application,) = server.applications.values()
    assert application["_project"] == project["projectId"]
    assert [len(application[key]) for key in ("mounts", "domains")] == [1, 1]
    assert list(server.services) == [application["appName"]]


def test_a_deployment_that_begins_and_ends_between_two_looks_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stacks = Stacks()
    server, answer = stacks.server, stacks.server.answer

    def slowly(procedure: str, *rest: Any) -> Raw:
        if procedure == "deployment.queueList" and "application.deploy" in server.requests:
            stacks.clock.sleep(60)
        return answer(procedure, *rest)

    monkeypatch.setattr(server, "answer", slowly)
    stacks.create("alice")
    assert server.requests.count("application.deploy") == 1


def test_a_stack_is_made_and_removed() -> None:
    stacks = Stacks()
    run = stacks.create("alice")
    assert list(dict.fromkeys(run.stages)) == [
        Stage.CREATING_PROJECT, Stage.CREATING_APPLICATION, Stage.CONFIGURING,
        Stage.CREATING_DOMAIN, Stage.DEPLOYING, Stage.HEALTH_CHECK, Stage.RUNNING,
    ]  # fmt: skip
    one_of_each(stacks.server)
    (service,) = stacks.server.services.values()
    assert service.environment == {
        "A": "1",
        "KEY": SECRET,
        RUN: stacks.inventory["alice"]["run_key"],
    }
    entry = stacks.inventory["alice"]
    assert (entry["state"], entry["url"]) == ("RUNNING", "https://alice.stacks.example/")
    assert (entry["answered"], entry["certificate"]) == ("GET /: 200", "self-signed certificate")
    said = stacks.destroy("alice").said
    assert "the volume workspace-alice is kept" in said
    assert stacks.is_empty
    assert stacks.server.volumes == {"workspace-alice"}
    assert "gone already" in stacks.destroy("alice").said[-1]


def test_a_server_without_environments_is_served_too() -> None:
    stacks = Stacks(old=True)
    stacks.create("alice")
    stacks.destroy("alice")
    assert stacks.is_empty


@pytest.mark.parametrize("fault", UNCLEAR)
@pytest.mark.parametrize("procedure", CREATIONS)
def test_an_unclear_answer_makes_nothing_twice(procedure: str, fault: Fault) -> None:
    stacks = Stacks()
    stacks.server.faults[procedure] = [fault]
    stacks.create("alice")
    one_of_each(stacks.server)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LIMITED])
def test_what_was_certainly_not_done_is_asked_again(fault: Fault) -> None:
    stacks = Stacks()
    stacks.server.faults["*"] = [fault, None, None] * 6
    stacks.create("alice")
    one_of_each(stacks.server)


@pytest.mark.parametrize("procedure", [*CREATIONS, "deployment.all"])
def test_a_restart_of_the_server_in_the_middle(procedure: str) -> None:
    stacks = Stacks()
    stacks.server.faults[procedure] = [Fault.RESTART]
    stacks.create("alice")
    one_of_each(stacks.server)


def test_a_name_that_is_taken_is_left_alone() -> None:
    stacks = Stacks()
    stacks.create("alice")
    with pytest.raises(NoStack, match="the name alice is taken, by stack alice"):
        stacks.create("other", name="alice")
    one_of_each(stacks.server)
    assert "other" not in stacks.inventory
    stacks.server.projects["prj-x"] = {
        "projectId": "prj-x", "name": "bob", "description": None, "createdAt": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    with pytest.raises(NoStack, match="a project that disinto did not make"):
        stacks.create("bob")
    assert "prj-x" in stacks.server.projects


def test_all_that_is_said_is_without_secrets() -> None:
    stacks = Stacks()
    stacks.server.faults["project.create"] = [Fault.ERROR_BEFORE] * 9
    with pytest.raises(NoStack):
        stacks.create("alice")
    with pytest.raises(NoStack):
        stacks.create("bob", image=GONE)
    stacks.server.faults.clear()
    stacks.create("carol")
    stacks.update("carol", image=TWO)
    stacks.destroy("carol")
    for secret in (SECRET, KEY, SECRET_OF_THE_SERVER):
        assert not [text for text in stacks.texts if secret in text]


def test_a_cancellation_leaves_nothing() -> None:
    stacks = Stacks()
    with pytest.raises(Cancelled):
        stacks.create("alice", steps=Steps(cancel_at=20))
    assert stacks.is_empty
    assert stacks.inventory == {}


def boundaries() -> int:
    steps = Steps()
    Stacks().create("alice", steps=steps)
    return steps.count


@pytest.mark.parametrize("lost", [False, True])
def test_a_kill_at_any_boundary_leaves_one_stack_or_none(lost: bool) -> None:
    for number in range(1, boundaries() + 1):
        stacks = Stacks()
        with pytest.raises(Killed):
            stacks.create("alice", steps=Steps(kill_at=number), outputs_lost=lost)
        assert len(stacks.server.projects) <= 1, number
        assert len(stacks.server.applications) <= 1, number
        if stacks.projects and not lost:
            assert "alice" in stacks.inventory, number
        stacks.wait(3600)
        if lost:
            stacks.reap()
        else:
            stacks.destroy("alice")
        assert stacks.is_empty, number


def test_a_cancellation_at_any_boundary_leaves_nothing() -> None:
    for number in range(boundaries() + 1):
        stacks = Stacks()
        try:
            stacks.create("alice", steps=Steps(cancel_at=number))
        except Cancelled:
            assert stacks.inventory == {}, number
        stacks.wait(600)
        assert stacks.projects == stacks.entered, number
        assert len(stacks.server.services) == len(stacks.inventory), number


def test_a_destruction_that_is_killed_anywhere_can_be_repeated() -> None:
    steps = Steps()
    stacks = Stacks()
    stacks.create("alice")
    stacks.destroy("alice", steps=steps)
    for number in range(1, steps.count + 1):
        stacks = Stacks()
        stacks.create("alice")
        with pytest.raises(Killed):
            stacks.destroy("alice", steps=Steps(kill_at=number))
        stacks.destroy("alice")
        assert stacks.is_empty, number


@dataclass(kw_only=True)
class UntilDeploying(Steps):
    """Kills the run as soon as the server deploys."""

    stacks: Stacks

    def step(self) -> None:
        if any(each["status"] == "running" for each in self.stacks.server.deployments):
            raise Killed


def test_a_deployment_under_way_is_waited_for_before_a_destruction() -> None:
    stacks = Stacks(pull_s=30)
    with pytest.raises(Killed):
        stacks.create("alice", steps=UntilDeploying(stacks=stacks))
    assert [each["status"] for each in stacks.server.deployments] == ["running"]
    said = stacks.destroy("alice").said
    assert "a deployment is under way: it is waited for" in said
    stacks.wait(600)
    assert stacks.is_empty


def test_a_project_with_other_services_is_kept_and_named() -> None:
    stacks = Stacks()
    stacks.create("alice")
    other = stacks.server._shown
    stacks.server._shown = lambda p: {  # type: ignore[method-assign]
        **other(p), "environments": [{**other(p)["environments"][0], "postgres": [{"postgresId": "1"}]}]
    }  # fmt: skip
    with pytest.raises(StillThere, match="has other services"):
        stacks.destroy("alice")
    assert stacks.projects == ["alice"]


def test_rounds_leave_no_networks_and_no_services() -> None:
    stacks = Stacks(queue_s=0, pull_s=0, start_s=0)
    before = set(stacks.server.networks)
    for number in range(300):
        stacks.create(f"round-{number}", name="round")
        stacks.destroy(f"round-{number}")
    assert stacks.is_empty
    assert stacks.server.networks == before


def state(stacks: Stacks) -> dict[str, object]:
    (application,) = stacks.server.applications.values()
    return {name: application[name] for name in ("dockerImage", "env", "domains", "mounts")}


def test_an_update_is_believed_when_the_new_container_was_seen() -> None:
    stacks = Stacks()
    stacks.create("alice")
    run = stacks.update("alice", image=TWO, environment={"B": 'it\'s # "2"'})
    assert run.left is not None
    assert (run.left["image_seen"], run.left["downtime_s"]) == (TWO, 0)
    assert stacks.inventory["alice"]["image"] == TWO
    assert stacks.inventory["alice"]["run_key"].startswith("alice.")
    (service,) = stacks.server.services.values()
    assert service.environment.pop(RUN).startswith("update-alice.")
    assert service.environment == {"B": 'it\'s # "2"'}
    assert any(text.startswith("expected downtime: seconds") for text in run.said)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (BAD, r"ends by itself \(task: non-zero exit"),
        (GONE, "manifest unknown"),
        (SILENT, "GET /: 502"),
    ],
)
def test_an_update_that_fails_returns_to_image_and_environment(image: str, why: str) -> None:
    stacks = Stacks()
    stacks.create("alice")
    recorded = state(stacks)
    with pytest.raises(NoStack, match=f"{why}(?s:.*)returned to {ONE}"):
        stacks.update("alice", image=image, environment={"B": "2"})
    assert state(stacks) == recorded
    stacks.wait(60)
    assert stacks.server.page("alice.stacks.example") == ONE
    assert stacks.inventory["alice"]["image"] == ONE


def test_an_environment_with_which_the_container_ends_is_no_update() -> None:
    """The swarm starts the former version again: a new task, of the same image, that answers."""
    stacks = Stacks()
    stacks.create("alice", image=BROKEN_BY_B)
    recorded = state(stacks)
    with pytest.raises(NoStack, match=r"ends by itself(?s:.*)returned to"):
        stacks.update("alice", environment={"B": "2"})
    assert state(stacks) == recorded
    stacks.update("alice", environment={"C": "2"})


def test_a_queue_that_moves_is_waited_for_and_one_that_does_not_is_stuck() -> None:
    stacks = Stacks(pull_s=60)
    for number in range(6):
        occupy(stacks.server, f"other-{number}")
    run = stacks.create("alice")
    assert run.left is not None
    assert stacks.clock.now() - START > 300
    stacks = Stacks(pull_s=600)
    occupy(stacks.server, "other")
    with pytest.raises(NoStack, match="the server's queue is stuck"):
        stacks.create("alice")


def occupy(server: FakeDokploy, name: str) -> None:
    """Somebody else's deployment in the queue."""
    said = server.answer("project.create", {}, {"name": name}, KEY)
    place = json.loads(said.text)["environment"]["environmentId"]
    said = server.answer("application.create", {}, {"name": name, "environmentId": place}, KEY)
    id_ = json.loads(said.text)["applicationId"]
    image = dict.fromkeys(("username", "password", "registryUrl"))
    server.answer(
        "application.saveDockerProvider",
        {},
        {"applicationId": id_, "dockerImage": ONE, **image},
        KEY,
    )
    server.answer("application.deploy", {}, {"applicationId": id_}, KEY)


def test_no_service_appears_after_a_destruction_in_the_middle_of_a_deployment() -> None:
    stacks = Stacks(pull_s=100)
    with pytest.raises(Killed):
        stacks.create("alice", steps=UntilDeploying(stacks=stacks))
    stacks.destroy("alice")
    stacks.wait(600)
    assert stacks.is_empty
    stacks = Stacks(pull_s=400)
    with pytest.raises(Killed):
        stacks.create("alice", steps=UntilDeploying(stacks=stacks))
    with pytest.raises(StillThere, match=r"may still make service alice-(?s:.*)docker service rm"):
        stacks.destroy("alice")


def test_an_update_needs_the_text_of_the_new_version_if_there_is_one() -> None:
    stacks = Stacks()
    stacks.create("alice")
    stacks.update("alice", image=TWO, expected=TWO)
    with pytest.raises(NoStack, match=f"returned to {TWO}"):
        stacks.update("alice", image=ONE, expected="no such text")


def test_nothing_is_changed_without_a_way_back() -> None:
    stacks = Stacks()
    stacks.create("alice")
    before = state(stacks)
    with pytest.raises(NoStack, match="cannot be pulled"):
        stacks.update("alice", image=TWO, pullable=lambda _: "its registry does not have it")
    assert state(stacks) == before
    stacks.update("alice", image=TWO, pullable=lambda _: "gone", without_return=True)


def test_an_update_that_is_cancelled_anywhere_leaves_what_was_there() -> None:
    steps = Steps()
    stacks = Stacks()
    stacks.create("alice")
    recorded = state(stacks)
    stacks.update("alice", image=TWO, steps=steps)
    for number in range(0, steps.count, 2):
        stacks = Stacks()
        stacks.create("alice")
        try:
            stacks.update("alice", image=TWO, steps=Steps(cancel_at=number))
        except Cancelled:
            assert state(stacks)["dockerImage"] == recorded["dockerImage"], number
        stacks.wait(60)
        assert len(stacks.server.applications) == 1
        assert stacks.server.page("alice.stacks.example") == stacks.inventory["alice"]["image"]


def test_the_limit_of_time_holds() -> None:
    assert TOTAL_S == 255
    stacks = Stacks()
    begun = stacks.clock.now()
    with pytest.raises(NoStack, match="took more than 60 seconds"):
        stacks.create("alice", image=SILENT)
    assert stacks.clock.now() - begun < TOTAL_S + 60
    assert stacks.is_empty


def test_another_limit_stretches_every_stage() -> None:
    stacks = Stacks(pull_s=200)
    stacks.limit_s = 4 * TOTAL_S
    stacks.create("alice")
    with pytest.raises(NoStack, match="health-check took more than 240 seconds"):
        stacks.create("bob", image=SILENT)


@dataclass(kw_only=True)
class Slow(Steps):
    """Each request takes twice so many seconds."""

    stacks: Stacks
    half_s: float

    def step(self) -> None:
        self.stacks.clock.at += self.half_s


def test_a_server_that_is_slow_with_every_answer_deploys_all_the_same() -> None:
    stacks = Stacks()
    stacks.create("alice", steps=Slow(stacks=stacks, half_s=1.5))
    one_of_each(stacks.server)
    stacks = Stacks()
    with pytest.raises(NoStack, match=r"not running after 255 seconds \(stage \S+\)"):
        stacks.create("alice", steps=Slow(stacks=stacks, half_s=8))
    assert stacks.is_empty
