"""The web page under the systemd unit that we ship, on a machine with systemd: it answers, comes back when it is
killed, ends in order, and its fences hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.systemd_machine import CODE, SystemdMachine, boot

pytestmark = [
    pytest.mark.needs("docker", "machine"),
    pytest.mark.thorough,  # a machine boots
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).parents[2]
UNIT = "disinto-web.service"
SETTINGS = """
state_dir = "/var/lib/disinto"
[ops_repo]
remote = "/srv/git/ops.git"
[vault]
addr = "http://127.0.0.1:1"
"""
START_S = 180.0
"""The first start compiles everything, on a machine that may be busy."""

SECRET = "VAULT_TOKEN=of-the-dispatcher"
ACTION = 'id = "first"\nformula = "hello"\ncontext = "c"\nsecrets = []\n'


@pytest.fixture(scope="module")
def machine() -> Iterator[SystemdMachine]:
    """With the ops repo and the settings that an operator brings; the unit is as it is shipped."""
    with boot() as machine:
        machine.run(
            "useradd", "--system", "--user-group", "--home-dir", "/var/lib/disinto", "disinto"
        )
        for path, mode in (
            ("/var/lib/disinto", "700"),
            ("/srv/git", "755"),
            ("/etc/disinto", "755"),
        ):
            machine.run("install", "-d", "-o", "disinto", "-g", "disinto", "-m", mode, path)
        machine.run("ln", "-s", "/opt/disinto", f"{CODE}/venv")
        machine.write("/etc/disinto/disinto.toml", SETTINGS)
        machine.write("/etc/disinto/environment", SECRET, mode=0o600)
        machine.write("/srv/git/first.toml", ACTION, owner="disinto:disinto")
        script = (
            "cd /srv/git && git init -q --bare -b main ops.git && git clone -q ops.git work && cd work && "
            "mkdir -p vault/actions && cp ../first.toml vault/actions/ && git add -A && "
            "git -c user.name=t -c user.email=t@example.org commit -qm one && git push -q origin HEAD:main"
        )
        machine.run("sh", "-ec", script, user="disinto")
        unit = (ROOT / "jobs" / "systemd" / UNIT).read_text()
        machine.write(f"/etc/systemd/system/{UNIT}", unit)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "enable", "--now", UNIT)
        yield machine


def links(machine: SystemdMachine) -> list[str]:
    """The links that are in the journal."""
    journal = machine.run("journalctl", "--unit", UNIT, "--output", "cat", "--no-pager")
    return re.findall(r"http://127\.0\.0\.1:8490/enter/\S+", journal)


def shown(machine: SystemdMachine, path: str) -> Any:
    """A page as JSON, by the last link, which is used up."""
    jar = "/tmp/cookies"
    machine.await_(lambda: answers(machine), "an answer", seconds=START_S)
    machine.run("rm", "-f", jar)
    machine.run("curl", "-sS", "-o", "/dev/null", "-c", jar, "--fail", links(machine)[-1])
    text = machine.run("curl", "-sS", "-b", jar, "--fail", f"http://127.0.0.1:8490{path}")
    return json.loads(text)


def answers(machine: SystemdMachine) -> bool:
    code = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8490/")
    return machine.run(*code, check=False) == "401"


def pid(machine: SystemdMachine) -> str:
    return machine.property(UNIT, "MainPID")


def test_it_shows_what_is_in_git(machine: SystemdMachine) -> None:
    machine.await_(
        lambda: (
            [
                each["action"]["id"]
                for each in shown(machine, "/overview.json")["waiting"]["actions"]
            ]
            == ["first"]
        ),
        "the action",
    )
    state = machine.run("sh", "-c", "stat -c '%U %a' /var/lib/disinto/web")
    assert state.split() == ["disinto", "700"]


def test_its_fences_hold(machine: SystemdMachine) -> None:
    machine.await_(lambda: answers(machine), "an answer", seconds=START_S)
    status = machine.read(f"/proc/{pid(machine)}/status")
    owner = machine.run("id", "-u", "disinto").strip()
    assert re.search(rf"^Uid:\s+{owner}\s", status, re.MULTILINE)
    for capabilities in ("CapEff", "CapBnd"):
        assert re.search(rf"^{capabilities}:\s+0+$", status, re.MULTILINE), status
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    inside = ("nsenter", "--target", pid(machine), "--mount", "--setuid", owner)
    assert machine.succeeds(*inside, "touch", "/var/lib/disinto/web/here")
    assert not machine.succeeds(*inside, "touch", "/srv/git/ops.git/here")
    assert SECRET not in machine.run(*inside, "cat", "/etc/disinto/environment", check=False)
    as_root = inside[:4]
    assert SECRET not in machine.run(*as_root, "cat", "/etc/disinto/environment", check=False)
    assert not machine.succeeds(*as_root, "touch", "/etc/disinto/here")


def test_it_comes_back_when_it_is_killed_and_ends_in_order(machine: SystemdMachine) -> None:
    before = pid(machine)
    machine.run("systemctl", "kill", "--signal=SIGKILL", UNIT)
    machine.await_(lambda: pid(machine) not in ("0", before), "the next start")
    assert shown(machine, "/overview.json")["waiting"]["actions"]
    machine.run("systemctl", "stop", UNIT)
    assert machine.property(UNIT, "ExecMainStatus") == "130", "interrupted, which is how it ends"
    assert machine.property(UNIT, "Result") == "success"
    journal = machine.run("journalctl", "--unit", UNIT, "--output", "cat", "--no-pager")
    assert "Traceback" not in journal
