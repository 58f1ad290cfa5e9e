"""What somebody else put into a stack's project at the server, by hand: it is neither changed nor removed."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.stack.deploy import NoStack
from dispatcher.stack.dokploy_records import ApplicationRecord
from dispatcher.stack.marks import Mark
from dispatcher.stack.removal import StillThere
from tests.support.stacks import BAD, ONE, TWO, Stacks

PLACES = pytest.mark.parametrize("first", [False, True], ids=["listed last", "listed first"])


def stranger_in(stacks: Stacks, *, first: bool, description: str | None = "carol's") -> Any:
    """An application that Carol made in the only project; as it is at the server."""
    server = stacks.server
    project = next(iter(server.projects))
    _, made = server._write_application_create(
        {
            "name": "hers",
            "appName": "hers",
            "description": description,
            "environmentId": f"env-{project}",
        }
    )
    made |= {"dockerImage": "carol/hers:1", "sourceType": "docker", "env": "HERS=1"}
    if first:
        others = {i: each for i, each in server.applications.items() if each is not made}
        server.applications.clear()
        server.applications.update({made["applicationId"]: made, **others})
    return made


def there(stacks: Stacks, stranger: Any) -> bool:
    """Whether it is there, and as it was."""
    found = stacks.server.applications.get(stranger["applicationId"])
    return found is not None and (found["dockerImage"], found["env"]) == ("carol/hers:1", "HERS=1")


@PLACES
@pytest.mark.parametrize("description", ["carol's", None, "", "disinto:disinto:bob:" + "0" * 40])
def test_an_update_is_one_of_the_stack_alone(first: bool, description: str | None) -> None:
    stacks = Stacks(queue_s=0, pull_s=0, start_s=0)
    stacks.create("alice")
    hers = stranger_in(stacks, first=first, description=description)
    stacks.update("alice", image=TWO)
    assert stacks.server.page("alice.stacks.example") == TWO
    assert there(stacks, hers)
    with pytest.raises(NoStack, match=f"returned to {TWO}"):
        stacks.update("alice", image=BAD)
    assert there(stacks, hers)


@PLACES
def test_a_destruction_leaves_it_and_names_its_project(first: bool) -> None:
    stacks = Stacks(queue_s=0, pull_s=0, start_s=0)
    stacks.create("alice")
    hers = stranger_in(stacks, first=first)
    with pytest.raises(StillThere, match="project alice has other services than its application"):
        stacks.destroy("alice")
    assert list(stacks.server.applications.values()) == [hers]
    assert stacks.server.page("alice.stacks.example") == ""
    del stacks.server.applications[hers["applicationId"]]
    stacks.destroy("alice")
    assert not stacks.server.projects


@PLACES
def test_a_deployment_that_goes_on_takes_none_for_its_own(first: bool) -> None:
    """The project is there and its application is not yet, as after a kill."""
    stacks = Stacks(queue_s=0, pull_s=0, start_s=0)
    mark = Mark.of_run("disinto", f"alice.{'0' * 40}")
    stacks.server._write_project_create({"name": "alice", "description": str(mark)})
    hers = stranger_in(stacks, first=first)
    stacks.create("alice")
    assert stacks.server.page("alice.stacks.example") == ONE
    assert there(stacks, hers)
    assert len(stacks.server.applications) == 2


def test_a_double_with_a_stranger_in_it_is_not_removed() -> None:
    stacks = Stacks(queue_s=0, pull_s=0, start_s=0)
    mark = Mark.of_run("disinto", f"alice.{'0' * 40}")
    for _ in "12":
        stacks.server._write_project_create({"name": "alice", "description": str(mark)})
        stacks.clock.sleep(1)
    newest = list(stacks.server.projects)[-1]
    hers = stranger_in(stacks, first=False)
    hers["_project"] = newest
    with pytest.raises(StillThere, match="other services"):
        stacks.create("alice")
    assert there(stacks, hers)
    assert list(stacks.server.projects) == [newest]


def test_names_that_somebody_gave_at_the_server_steer_no_terminal() -> None:
    """Its image, its domain and its volume are repeated in errors, outputs and the inventory."""
    stacks = Stacks(queue_s=0, pull_s=0, start_s=0)
    stacks.create("alice")
    (application,) = stacks.server.applications.values()
    application["dockerImage"] = "a/b:1\x1b[2J\nnothing is wrong"
    with pytest.raises(NoStack, match="cannot be pulled") as raised:
        stacks.update("alice", image=TWO, pullable=lambda _: "gone")
    assert all(c.isprintable() for c in str(raised.value))
    application["dockerImage"] = ONE
    application["domains"][0]["host"] = "alice.example\r\nX-Other: 1"
    application["mounts"][0]["volumeName"] = "workspace\x07"
    record = ApplicationRecord.model_validate(application).plain()
    assert [record.domains[0].host, record.mounts[0].volume] == [
        "alice.example  X-Other: 1",
        "workspace",
    ]
