"""Two applications on one machine with a real systemd; the second one's disk is small, and gets full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.servers.shop_machine import DISINTO, ShopMachine
from tests.servers.stall_machine import DEPLOY, ROOT, SIZE_MB, StallMachine
from tests.servers.systemd_machine import boot

pytestmark = [
    pytest.mark.needs("docker", "machine"),
    pytest.mark.thorough,
    pytest.mark.timeout(1200),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Both:
    """Both applications, deployed."""

    shop: ShopMachine
    stall: StallMachine


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with boot() as machine:
        shop = ShopMachine(machine)
        stall = StallMachine(machine)
        for app in ("shop", "stall"):
            shop.disinto("install", "--app", app, "--yes")
        shop.on(1, shop.first)
        stall.on(1, stall.first)
        yield Both(shop=shop, stall=stall)


def served(both: Both) -> int:
    """The number of the shop, whose commit is not meant to change."""
    return both.shop.served()[0]


def test_each_application_has_its_own_units_and_rights(both: Both) -> None:
    machine = both.shop.machine
    for app in ("shop", "stall"):
        for unit in (f"{app}-deploy.timer", f"{app}-deploy.path", f"{app}-deployhook.service"):
            assert machine.property(unit, "ActiveState") == "active"
        assert machine.run(DISINTO, "release", "doctor", "--app", app).count("FAIL") == 0
        assert machine.succeeds(DISINTO, "release", "install", "--app", app, "--check")
    assert "several applications in /opt: shop, stall" in both.shop.disinto("status", check=False)


def test_a_deploy_of_one_does_not_wait_for_the_other(both: Both) -> None:
    number = served(both)
    both.shop.hold("dependencies")
    held = both.shop.change(number + 1)
    both.shop.held("dependencies")
    other = both.stall.push({"number": "2"})
    both.stall.on(2, other)
    assert served(both) == number
    both.shop.go_on("dependencies")
    both.shop.on(number + 1, held)


def test_a_commit_that_does_not_fit_on_the_disk_is_undone(both: Both) -> None:
    number = both.stall.machine.read(f"{ROOT}/src/number")
    safe = both.stall.status["safe_commit"]
    zeros = f"head -c {2 * SIZE_MB}M /dev/zero | tr '\\0' 0"  # and no bytes 0, which take no room
    large = both.stall.commit(f"{zeros} >large; echo 3 >number")
    outcome, message = both.stall.ended(large)
    assert (outcome, message.split(":")[0]) == ("rolled-back", "checkout"), message
    assert both.stall.status["failed"]["commit"] == large
    both.stall.on(int(number), safe)
    good = both.stall.commit("rm large")
    both.stall.on(3, good)


def test_on_a_full_disk_nothing_changes_until_there_is_room(both: Both) -> None:
    machine = both.stall.machine
    safe = both.stall.status["safe_commit"]
    machine.run("sh", "-c", f"cat /dev/zero >{ROOT}/ballast", check=False)
    before = machine.property(DEPLOY, "InvocationID")
    good = both.stall.push({"number": "4"})
    machine.await_(lambda: machine.property(DEPLOY, "InvocationID") != before, "the timer")
    machine.await_(lambda: machine.property(DEPLOY, "Result") == "exit-code", "the failure")
    assert both.stall.serves(3, safe)
    number = served(both)
    elsewhere = both.shop.change(number + 1)
    both.shop.on(number + 1, elsewhere)
    machine.run("rm", f"{ROOT}/ballast")
    both.stall.on(4, good)


def test_uninstalling_one_leaves_the_other(both: Both) -> None:
    """Last: it leaves one. What is in the directories stays, and the user, whom the shop has."""
    machine = both.shop.machine
    machine.run("systemctl", "stop", "stall-deploy.timer")
    machine.await_(both.stall.idle, "the end of the last deploy")
    output = machine.run(DISINTO, "release", "uninstall", "stall", "--yes", check=False)
    assert f"kept: {ROOT}/run: it is not empty" in output
    assert not machine.succeeds("test", "-e", f"/etc/systemd/system/{DEPLOY}")
    assert machine.succeeds("id", "deploy")
    number = served(both)
    commit = both.shop.change(number + 1)
    both.shop.on(number + 1, commit)
