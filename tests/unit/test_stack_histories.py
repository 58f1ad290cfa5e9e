"""Random histories of a server: in the end it has what the inventory names, and no more."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from dispatcher.errors import DisintoError
from dispatcher.provision.waiting import Cancelled
from tests.servers.dokploy_rules import Fault
from tests.support.desktops import Killed, Steps
from tests.support.stacks import BAD, GONE, ONE, TWO, Stacks

PARTS, PER_PART = 5, 80
FAULTS = [None, None, None, None, *Fault]
ENDS = (Killed, Cancelled, DisintoError)


def one_action(stacks: Stacks, chance: random.Random, number: int) -> None:
    """Create, update or destroy; cancelled or killed at any step."""
    at = chance.randint(1, 70)
    steps = chance.choice([Steps(), Steps(), Steps(kill_at=at), Steps(cancel_at=at)])
    image = chance.choice([ONE, TWO, BAD, GONE])
    standing = sorted(stacks.inventory)
    kind = chance.random()
    with suppress(*ENDS):
        if standing and kind < 0.3:
            stacks.destroy(chance.choice(standing), steps=steps)
        elif standing and kind < 0.6:
            stacks.update(chance.choice(standing), image=image, steps=steps)
        else:
            name = chance.choice(["ann", "bea"])
            stacks.create(
                f"stack-{number}", name=name, image=image, steps=steps,
                outputs_lost=chance.random() < 0.5,
            )  # fmt: skip


@pytest.mark.parametrize("part", range(PARTS))
def test_the_servers_list_equals_the_inventory(part: int) -> None:
    for seed in range(part * PER_PART, (part + 1) * PER_PART):
        chance = random.Random(seed)
        stacks = Stacks(old=chance.random() < 0.2)
        stacks.server.faults = {"*": chance.choices(FAULTS, k=30)}
        for number in range(chance.randint(2, 4)):
            one_action(stacks, chance, number)
        stacks.server.faults.clear()
        stacks.wait(3600)
        stacks.reap()
        # CREATING is what a killed run may have made; a destruction that did not end is repeated.
        for stack_id, entry in sorted(stacks.inventory.items()):
            if entry["state"] != "RUNNING" or stack_id in stacks.ending:
                stacks.destroy(stack_id)
        assert stacks.projects == stacks.entered, f"seed {seed}"
        assert len(stacks.server.services) == len(stacks.inventory), f"seed {seed}"
        for stack_id in sorted(stacks.inventory):
            stacks.destroy(stack_id)
        assert stacks.is_empty, f"seed {seed}"
