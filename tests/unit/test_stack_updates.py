"""How an update notices that the swarm keeps the former version."""

from __future__ import annotations

import pytest

from dispatcher.stack.deploy import NoStack
from tests.support.stacks import ONE, UNCHECKED, Stacks


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
