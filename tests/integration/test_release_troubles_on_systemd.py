"""Releases on a real systemd when something is in the way: files, the remote, owners, another deploy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.shop_machine import DEPLOY, ShopMachine
from tests.servers.systemd_machine import boot

pytestmark = [
    pytest.mark.needs("docker", "machine"),
    pytest.mark.thorough,
    pytest.mark.timeout(1200),
]

SRC = "/opt/shop/src"


@pytest.fixture(scope="module")
def shop() -> Iterator[ShopMachine]:
    """Its first commit is deployed."""
    with boot() as machine:
        made = ShopMachine(machine)
        made.install()
        made.on(1, made.first)
        yield made


def test_triggers_during_a_deploy_cause_exactly_one_more(shop: ShopMachine) -> None:
    """Whoever deploys by hand meanwhile is told who holds the lock."""
    number, _ = shop.served()
    shop.hold("dependencies")
    first = shop.change(number + 1)
    shop.call_webhook()
    shop.held("dependencies")
    newest = shop.change(number + 2)
    for _ in range(3):
        shop.call_webhook()
        shop.machine.run("systemctl", "start", "--no-block", DEPLOY)
    refused = shop.deploy()
    assert "another deploy runs: pid" in refused
    assert shop.status["running"]
    shop.go_on("dependencies")
    shop.on(number + 2, newest)
    assert [shop.deployed(commit) for commit in (first, newest)] == [1, 1]


def test_timer_and_webhook_at_once_deploy_once(shop: ShopMachine) -> None:
    number, _ = shop.served()
    for more in range(1, 4):
        commit = shop.change(number + more)
        shop.machine.run("systemctl", "start", "--no-block", DEPLOY)
        assert shop.call_webhook() == "requested a deploy\n"
        shop.on(number + more, commit)
        assert shop.deployed(commit) == 1


def test_while_the_remote_is_down_nothing_changes(shop: ShopMachine) -> None:
    number, commit = shop.served()
    shop.machine.run("systemctl", "stop", "git")
    good = shop.change(number + 1)
    runs = shop.deploys()
    shop.machine.await_(lambda: shop.deploys() > runs + 1, "two looks of the timer")
    assert shop.served() == (number, commit)
    shop.machine.run("systemctl", "start", "git")
    shop.on(number + 1, good)


def test_an_environment_of_another_owner_is_named_and_nothing_changes(shop: ShopMachine) -> None:
    number, commit = shop.served()
    shop.machine.run("systemctl", "stop", "shop-deploy.timer")  # its deploy would hold the lock
    shop.machine.await_(shop.idle, "the end of a deploy")
    shop.machine.run("chown", "root:", "/opt/shop/venv/.commits")
    good = shop.change(number + 1)
    output = shop.deploy()
    assert "/opt/shop/venv" in output
    assert shop.served() == (number, commit)
    assert "does not belong to deploy" in shop.disinto("doctor", check=False)
    shop.machine.run("chown", "deploy:", "/opt/shop/venv/.commits")
    shop.deploy()
    shop.on(number + 1, good)
    shop.machine.run("systemctl", "start", "shop-deploy.timer")


def test_what_was_changed_in_the_checkout_is_cleaned(shop: ShopMachine) -> None:
    number, _ = shop.served()
    shop.machine.run("sh", "-c", f"echo edited >>{SRC}/worker/worker.py; echo x >{SRC}/left")
    good = shop.change(number + 1)
    shop.on(number + 1, good)
    assert not shop.machine.succeeds("test", "-e", f"{SRC}/left")
    assert "edited" not in shop.machine.read(f"{SRC}/worker/worker.py")


def test_what_git_cannot_clean_is_named_until_a_person_removes_it(shop: ShopMachine) -> None:
    """The services are left alone meanwhile, and so is the safe commit's code."""
    number, commit = shop.served()
    invocation = shop.machine.property("shop-backend.service", "InvocationID")
    shop.machine.write(f"{SRC}/left/file", "of root")
    good = shop.change(number + 1)
    assert shop.failed(good) == "checkout"
    shop.machine.await_(
        lambda: shop.idle() and shop.status["last"]["outcome"] == "rolled-back", "the outcome"
    )
    assert "has changes that git cannot remove: left/" in shop.status["last"]["message"]
    assert shop.served() == (number, commit)
    assert shop.machine.property("shop-backend.service", "InvocationID") == invocation
    shop.machine.run("rm", "-r", f"{SRC}/left")
    shop.deploy()
    shop.on(number + 1, good)


def test_a_branch_that_was_rewritten(shop: ShopMachine) -> None:
    """A bad commit takes the place of the safe one, which is returned to all the same; then a good one."""
    number, commit = shop.served()
    bad = shop.change(number + 1, starts=False, rewrite=True)
    assert shop.failed(bad) == "health"
    shop.on(number, commit)
    good = shop.change(number + 2, rewrite=True)
    shop.on(number + 2, good)
