"""Releases on a real systemd: whatever happens, both services end healthy on the safe commit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.shop_machine import DATA, DEPLOY, DISINTO, WORK, ShopMachine
from tests.servers.systemd_machine import boot
from tests.unit.test_release_docs import bootstrap

pytestmark = pytest.mark.needs("docker", "machine")

STEPS = ("dependencies", "migrations", "smoke", "health")
TABLE = "ALTER TABLE items ADD COLUMN {} TEXT;\n"


@pytest.fixture(scope="module")
def shop() -> Iterator[ShopMachine]:
    """Its first commit is deployed."""
    with boot() as machine:
        made = ShopMachine(machine)
        made.disinto("install", "--yes")
        on(made, 1, made.first)
        yield made


def on(shop: ShopMachine, number: int, commit: str) -> None:
    """Wait until both services serve a commit, and no deploy runs."""
    shop.machine.await_(
        lambda: shop.serves(number, commit) and shop.idle(), f"number {number}", seconds=150
    )


def safe(shop: ShopMachine) -> tuple[int, str]:
    """Number and commit of what is served."""
    answer = shop.answer()
    assert answer is not None
    return answer["number"], shop.safe


def failed(shop: ShopMachine, commit: str) -> str:
    """The step at which this commit failed, as soon as it has."""
    shop.machine.await_(
        lambda: (shop.status["failed"] or {}).get("commit") == commit, "the failure", seconds=150
    )
    step = shop.status["failed"]["step"]
    assert isinstance(step, str)
    return step


def hold(shop: ShopMachine, step: str) -> None:
    """Have the next deploy wait in a step."""
    shop.machine.run("touch", f"{DATA}/hold-{step}")


def held(shop: ShopMachine, step: str) -> None:
    """Wait until it does; whoever comes to the step later does not."""
    there = ("test", "-e", f"{DATA}/at-{step}")
    shop.machine.await_(lambda: shop.machine.succeeds(*there), f"step {step}", seconds=100)


def go_on(shop: ShopMachine, step: str) -> None:
    """Let it go on, if it still exists."""
    shop.machine.run("rm", f"{DATA}/at-{step}")


def deployed(shop: ShopMachine, commit: str) -> int:
    """How many deploys of a commit there were."""
    return shop.machine.read("/opt/shop/logs/deploy.log").count(f"deploys {commit[:12]} ")


def test_a_push_is_deployed_and_one_that_crashes_returns(shop: ShopMachine) -> None:
    """It crashes until systemd starts the unit no more, and the safe commit is started all the same."""
    number, _ = safe(shop)
    good = shop.change(number + 1)
    assert shop.call_webhook() == "requested a deploy\n"
    on(shop, number + 1, good)
    bad = shop.change(number + 2, starts=False)
    shop.call_webhook()
    assert failed(shop, bad) == "health"
    on(shop, number + 1, good)
    runs = shop.deploys()
    shop.machine.await_(lambda: shop.deploys() > runs, "the next look of the timer")
    assert deployed(shop, bad) == 1
    assert safe(shop) == (number + 1, good)


@pytest.mark.thorough
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("death", ["SIGKILL", "SIGTERM", "power cut", "reboot"])
def test_a_deploy_that_dies_in_a_step_is_undone(shop: ShopMachine, step: str, death: str) -> None:
    number, commit = safe(shop)
    hold(shop, step)
    column = f"of_{step}_{death.replace(' ', '_')}".lower()
    bad = shop.change(number + 1, {f"backend/migrations/{column}.sql": TABLE.format(column)})
    shop.call_webhook()
    held(shop, step)
    if death == "power cut":
        shop.machine.cut_power()
    elif death == "reboot":
        shop.machine.reboot()
    else:
        shop.machine.run("systemctl", "kill", "--kill-whom=main", f"--signal={death}", DEPLOY)
    go_on(shop, step)
    assert failed(shop, bad) == step
    on(shop, number, commit)
    assert shop.status["interrupted"] is None


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("step", "files"),
    [
        ("dependencies", {"backend/requirements.txt": "uvicorn\nno-such-package-here\n"}),
        ("migrations", {"backend/migrations/9999.bad.sql": "ALTER TABLE nothing ADD x;\n"}),
        ("smoke", {"backend/smoke.py": "raise SystemExit('it smokes')\n"}),
        ("health", {"worker/worker.py": "raise SystemExit(1)\n"}),
    ],
)
def test_a_commit_that_fails_at_a_step_is_undone(
    shop: ShopMachine, step: str, files: dict[str, str]
) -> None:
    number, commit = safe(shop)
    assert failed(shop, shop.change(number + 1, files)) == step
    on(shop, number, commit)
    # The next commit mends it.
    shop.machine.run("git", "-C", WORK, "rm", "-q", "--cached", "-r", ".")
    shop.machine.run("git", "-C", WORK, "checkout", "-q", commit, "--", ".")
    for path in files:
        shop.machine.run("sh", "-c", f"cd {WORK} && git cat-file -e {commit}:{path} || rm {path}")
    good = shop.change(number + 1)
    on(shop, number + 1, good)


@pytest.mark.thorough
def test_triggers_during_a_deploy_cause_exactly_one_more(shop: ShopMachine) -> None:
    number, _ = safe(shop)
    hold(shop, "dependencies")
    first = shop.change(number + 1)
    shop.call_webhook()
    held(shop, "dependencies")
    newest = shop.change(number + 2)
    for _ in range(3):
        shop.call_webhook()
        shop.machine.run("systemctl", "start", "--no-block", DEPLOY)
    refused = shop.deploy()
    assert "another deploy runs: pid" in refused
    go_on(shop, "dependencies")
    on(shop, number + 2, newest)
    assert [deployed(shop, commit) for commit in (first, newest)] == [1, 1]


@pytest.mark.thorough
def test_while_the_remote_is_down_nothing_changes(shop: ShopMachine) -> None:
    number, commit = safe(shop)
    shop.machine.run("systemctl", "stop", "git")
    good = shop.change(number + 1)
    runs = shop.deploys()
    shop.machine.await_(lambda: shop.deploys() > runs + 1, "two looks of the timer")
    assert safe(shop) == (number, commit)
    shop.machine.run("systemctl", "start", "git")
    on(shop, number + 1, good)


@pytest.mark.thorough
def test_an_environment_of_another_owner_is_named_and_nothing_changes(shop: ShopMachine) -> None:
    number, commit = safe(shop)
    shop.machine.run("chown", "root:", "/opt/shop/venv/.commits")
    good = shop.change(number + 1)
    output = shop.deploy()
    assert "/opt/shop/venv" in output
    assert safe(shop) == (number, commit)
    assert "does not belong to deploy" in shop.disinto("doctor", check=False)
    shop.machine.run("chown", "deploy:", "/opt/shop/venv/.commits")
    shop.deploy()
    on(shop, number + 1, good)


@pytest.mark.thorough
def test_a_fresh_machine_takes_five_lines() -> None:
    """The last three as the docs have them; the image has what the first two install."""
    lines = bootstrap()
    assert len(lines) == 5
    with boot() as machine:
        shop = ShopMachine(machine, place="/root/shop")
        packages = lines[0].partition("--yes ")[2].split()
        machine.run("dpkg", "--status", *packages)
        for program in ("disinto", "uv"):
            assert machine.succeeds("test", "-x", f"/opt/disinto/bin/{program}")
        for line in lines[2:]:
            machine.run("sh", "-ec", f"cd /root && {line}")
        on(shop, 1, shop.first)
        assert machine.run(DISINTO, "release", "doctor").count("FAIL") == 0
