"""Releases on a real systemd: whatever happens, both services end healthy on the safe commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.servers.shop_machine import DEPLOY, DISINTO, ShopMachine
from tests.servers.systemd_machine import SystemdMachine, boot
from tests.unit.test_release_docs import bootstrap

pytestmark = [pytest.mark.needs("docker", "machine"), pytest.mark.timeout(1200)]

STEPS = ("dependencies", "migrations", "smoke", "health")
TABLE = "ALTER TABLE items ADD COLUMN {} TEXT;\n"
BAD = {
    "dependencies": {"backend/requirements.txt": "uvicorn\nno-such-package-here\n"},
    "migrations": {"backend/migrations/9999.bad.sql": "ALTER TABLE nothing ADD x;\n"},
    "smoke": {"backend/smoke.py": "raise SystemExit('it smokes')\n"},
    "health": {"worker/worker.py": "raise SystemExit(1)\n"},
}
"""What a commit contains that fails, by the step at which it does."""


def signalled(signal: str) -> Callable[[SystemdMachine], object]:
    return lambda machine: machine.run(
        "systemctl", "kill", "--kill-whom=main", f"--signal={signal}", DEPLOY
    )


DEATHS: dict[str, Callable[[SystemdMachine], object]] = {
    "SIGKILL": signalled("SIGKILL"),
    "SIGTERM": signalled("SIGTERM"),
    "stop": lambda machine: machine.run("systemctl", "stop", DEPLOY),
    "power cut": lambda machine: machine.cut_power(),
    "reboot": lambda machine: machine.reboot(),
}


@pytest.fixture(scope="module")
def shop() -> Iterator[ShopMachine]:
    """Its first commit is deployed."""
    with boot() as machine:
        made = ShopMachine(machine)
        made.install()
        made.on(1, made.first)
        yield made


def test_a_push_is_deployed_and_one_that_crashes_returns(shop: ShopMachine) -> None:
    """It crashes until systemd starts the unit no more, and the safe commit is started all the same."""
    number, _ = shop.served()
    good = shop.change(number + 1)
    assert shop.call_webhook() == "requested a deploy\n"
    shop.on(number + 1, good)
    bad = shop.change(number + 2, starts=False)
    shop.call_webhook()
    assert shop.failed(bad) == "health"
    shop.on(number + 1, good)
    runs = shop.deploys()
    shop.machine.await_(lambda: shop.deploys() > runs, "the next look of the timer")
    assert shop.deployed(bad) == 1
    assert shop.served() == (number + 1, good)


@pytest.mark.thorough
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("death", DEATHS)
def test_a_deploy_that_dies_in_a_step_is_undone(shop: ShopMachine, step: str, death: str) -> None:
    number, commit = shop.served()
    shop.hold(step)
    column = f"of_{step}_{death.replace(' ', '_')}".lower()
    bad = shop.change(number + 1, {f"backend/migrations/{column}.sql": TABLE.format(column)})
    shop.call_webhook()
    shop.held(step)
    DEATHS[death](shop.machine)
    shop.go_on(step)
    assert shop.failed(bad) == step
    shop.on(number, commit)
    assert shop.status["interrupted"] is None
    assert shop.deployed(bad) == 1, "the timer does not retry it"


@pytest.mark.thorough
@pytest.mark.parametrize("step", BAD)
def test_a_commit_that_fails_at_a_step_is_undone(shop: ShopMachine, step: str) -> None:
    number, commit = shop.served()
    assert shop.failed(shop.change(number + 1, BAD[step])) == step
    shop.on(number, commit)
    shop.take_back(commit)
    mended = shop.change(number + 1)
    shop.on(number + 1, mended)


@pytest.mark.thorough
def test_three_bad_commits_in_a_row(shop: ShopMachine) -> None:
    number, commit = shop.served()
    for step in ("health", "smoke", "dependencies"):
        shop.take_back(commit)
        assert shop.failed(shop.change(number + 1, BAD[step])) == step
        shop.on(number, commit)
    shop.take_back(commit)
    mended = shop.change(number + 1)
    shop.on(number + 1, mended)


@pytest.mark.thorough
def test_a_fresh_machine_takes_five_lines() -> None:
    """All but the second as the docs have them, which installs what the image has. Whatever umask root has, and
    whoever could write the operator's copies, on the machine only root can.
    """
    lines = bootstrap()
    assert len(lines) == 5
    with boot() as machine:
        shop = ShopMachine(machine, place="/srv/shop")
        for program in ("disinto", "uv"):
            assert machine.succeeds("test", "-x", f"/opt/disinto/bin/{program}")
        machine.run("chmod", "-R", "g+w", "/srv/shop")
        machine.run("sh", "-ec", "\n".join(["umask 002; cd /srv", lines[0], *lines[2:]]))
        shop.on(1, shop.first)
        assert machine.run(DISINTO, "release", "doctor").count("FAIL") == 0
