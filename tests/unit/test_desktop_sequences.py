"""Random histories of an account: in the end the provider has what the inventory names, and no more."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from dispatcher.errors import DisintoError
from dispatcher.provision.waiting import Cancelled
from tests.servers.cloud import FakeCloud, Fault
from tests.support.desktops import Desktops, Killed, Steps

SEQUENCES = 500
FAULTS = [None, None, None, *Fault]
ENDS = (Killed, Cancelled, DisintoError)


def account(chance: random.Random) -> FakeCloud:
    late = chance.choice([0.0, 1.0])
    return FakeCloud(
        limit=chance.choice([1, 25]),
        known_after_s=late * chance.uniform(0, 10),
        listed_after_s=late * chance.uniform(0, 60),
        tagged_after_s=late * chance.choice([0.0, chance.uniform(0, 60)]),
        active_after_s=chance.uniform(0, 30),
        ip_after_s=chance.uniform(0, 60),
        gone_after_s=late * chance.uniform(0, 30),
        page_limit=chance.choice([1, 200]),
        faults={method: chance.choices(FAULTS, k=6) for method in ("GET", "POST", "DELETE")},
    )


def one_action(desktops: Desktops, chance: random.Random, number: int) -> None:
    """Create, or destroy one of those that exist; cancelled or killed at any step."""
    at = chance.randint(1, 40)
    steps = chance.choice([Steps(), Steps(), Steps(kill_at=at), Steps(cancel_at=at)])
    if desktops.inventory and chance.random() < 0.4:
        with suppress(*ENDS):
            desktops.destroy(chance.choice(sorted(desktops.inventory)), steps=steps)
        return
    desktop_id, killed = f"desktop-{number}", False
    try:
        desktops.create(
            desktop_id,
            steps=steps,
            keep_on_error=chance.random() < 0.2,
            outputs_lost=chance.random() < 0.5,
            ready_after_s=chance.choice([0.0, 0.0, 30.0, 30.0, 30.0, None]),
        )
    except Killed:
        killed = True
    except (Cancelled, DisintoError):
        pass
    tag = f"disinto:desktop:{desktop_id}"
    ever = [each for each in desktops.cloud.droplets.values() if tag in each.tags]
    assert len(ever) <= 1
    if not killed and desktop_id not in desktops.inventory:
        assert all(each.deleted_at is not None for each in ever)


@pytest.mark.parametrize("part", range(10))
def test_the_providers_list_equals_the_inventory(part: int) -> None:
    per_part = SEQUENCES // 10
    for seed in range(part * per_part, (part + 1) * per_part):
        chance = random.Random(seed)
        desktops = Desktops(account(chance))
        for number in range(chance.randint(2, 4)):
            one_action(desktops, chance, number)
        desktops.cloud.faults.clear()
        desktops.wait(3600)
        before = set(desktops.inventory)
        desktops.reap()
        # What is entered without its machine is what a killed run may have made: destroyed by name.
        for desktop_id, entry in sorted(desktops.inventory.items()):
            if "droplet_id" not in entry:
                desktops.destroy(desktop_id)
        named = {e["droplet_id"] for e in desktops.inventory.values()}
        assert desktops.billed <= named, f"seed {seed}: machines that nothing names"
        for desktop_id, entry in sorted(desktops.inventory.items()):
            if entry["droplet_id"] not in desktops.billed:
                desktops.destroy(desktop_id)
        assert desktops.billed == desktops.entered, f"seed {seed}"
        assert set(desktops.inventory) <= before
        for desktop_id in sorted(desktops.inventory):
            desktops.destroy(desktop_id)
        assert desktops.billed == set(), f"seed {seed}"


def test_reap_takes_nothing_that_is_named_or_young() -> None:
    desktops = Desktops()
    desktops.create("kept")
    desktops.create("lost")
    desktops.lose("lost")
    listed = desktops.reap()  # both are younger than the list's margin
    assert listed.left == {"leftovers": [], "removed": []}
    desktops.wait(3600)
    desktops.create("young")
    desktops.lose("young")
    assert len(desktops.billed) == 3
    found = desktops.reap(remove=False)
    assert found.left is not None
    assert [each["name"] for each in found.left["leftovers"]] == ["lost"]
    assert len(desktops.billed) == 3
    removed = desktops.reap().left
    assert removed is not None
    assert removed["removed"] == [each["droplet_id"] for each in removed["leftovers"]]
    assert {each.name for each in desktops.cloud.running()} == {"kept", "young"}


def test_another_projects_machines_are_not_seen() -> None:
    desktops = Desktops()
    desktops.create("lost")
    desktops.lose("lost")
    (machine,) = desktops.cloud.running()
    machine.tags = [tag.replace("disinto:", "staging:") for tag in machine.tags]
    desktops.wait(3600)
    desktops.reap()
    desktops.destroy("lost")
    assert len(desktops.billed) == 1
