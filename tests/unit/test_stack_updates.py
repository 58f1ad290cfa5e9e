"""How an update notices that the swarm keeps the former version."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dispatcher.stack.converge import POLL_S
from dispatcher.stack.deploy import NoStack
from dispatcher.stack.environment import marked
from tests.support.stacks import BAD, CHECKED, ONE, SILENT, TWO, UNCHECKED, Stacks


def test_a_version_that_ends_before_it_is_healthy_is_noticed_at_once() -> None:
    """With a health check the old task goes on running, so no new one shows that the swarm returned."""
    stacks = Stacks(queue_s=0, pull_s=0, start_s=0)
    stacks.create("alice")
    begun = stacks.clock.now()
    with pytest.raises(
        NoStack,
        match=rf"does not stay(?s:.*)ends by itself(?s:.*)returned to {ONE}; measured downtime: 0 ",
    ):
        stacks.update("alice", image=UNCHECKED)
    assert stacks.clock.now() - begun < 20
    assert stacks.server.page("alice.stacks.example") == ONE


@pytest.mark.parametrize(
    ("old", "change", "expected"),
    [
        (CHECKED, {"environment": {}}, "none: the old container runs until the new one has passed"),
        (CHECKED, {"image": TWO}, "none: (.*), if the new image has one as the old one has"),
        (ONE, {"image": CHECKED}, "seconds: (.*) because its image has no health check"),
    ],
)
def test_the_downtime_to_expect_follows_from_the_health_check(
    old: str, change: dict[str, Any], expected: str
) -> None:
    stacks = Stacks()
    stacks.create("alice", image=old)
    run = stacks.update("alice", **change)
    assert [text for text in run.said if re.match(f"expected downtime: {expected}", text)]
    assert run.left is not None
    assert (run.left["downtime_s"], run.left["downtime_expected"]) == (0, old is ONE)
    assert f"measured downtime: 0 seconds, by a look every {POLL_S:.0f} seconds" in run.said


def test_a_downtime_that_was_not_expected_is_told() -> None:
    stacks = Stacks()
    stacks.create("alice", image=CHECKED)
    with pytest.raises(
        NoStack, match=r"measured downtime: [0-9]+ (.*), although none was expected"
    ):
        stacks.update("alice", image=SILENT)


@pytest.mark.parametrize("lives_s", [1.0, 4.0, 7.0])
def test_a_version_that_runs_for_a_moment_beside_the_former_one_is_not_believed(
    lives_s: float,
) -> None:
    """Its container runs and is the wanted one, and the page answers: by the former container."""
    stacks = Stacks(queue_s=0, pull_s=0, start_s=0)
    stacks.create("alice")
    stacks.server.swarm.lives_s = lives_s
    with pytest.raises(NoStack, match=rf"does not stay(?s:.*)returned to {ONE}"):
        stacks.update("alice", image=BAD)
    assert stacks.server.page("alice.stacks.example") == ONE
    stacks.update("alice", image=TWO)


def test_after_a_killed_update_it_is_noticed_at_once_that_the_swarm_returned() -> None:
    """The server has the mark of the killed run, the container that of the one before."""
    stacks = Stacks(queue_s=0, pull_s=0, start_s=0)
    stacks.create("alice")
    (application,) = stacks.server.applications.values()
    application["env"] = marked("", "killed")
    begun = stacks.clock.now()
    with pytest.raises(NoStack, match="does not stay"):
        stacks.update("alice", image=BAD)
    assert stacks.clock.now() - begun < 30
