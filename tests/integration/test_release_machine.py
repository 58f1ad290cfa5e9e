"""``disinto release install`` on a real systemd: units, rights and the webhook, and what they withstand."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator

import pytest

from tests.servers.systemd_machine import SystemdMachine, boot

pytestmark = pytest.mark.needs("docker", "machine")

DISINTO = "/opt/disinto/bin/disinto"
SECRET = "0123456789abcdef0123456789abcdef"
RELEASE = """\
app = "shop"
remote = "git://127.0.0.1/shop.git"
poll_interval = 86400
[webhook]
[services.backend]
install = "true"
[services.worker]
install = "true"
"""
UNIT = "[Service]\nUser=nobody\nExecStart=/bin/sleep infinity\n"
OURS = "find /etc/systemd /etc/sudoers.d /etc/passwd /etc/group /opt/shop /var/lib/deploy /var/lib/disinto-release"


@pytest.fixture(scope="module")
def machine() -> Iterator[SystemdMachine]:
    """With a bare remote, two services, their env files and a release.toml; nothing is installed."""
    with boot() as made:
        made.write("/opt/shop/release.toml", RELEASE)
        made.write("/opt/shop/env/backend.env", f"SHOP_WEBHOOK_SECRET={SECRET}\n")
        made.write("/opt/shop/env/worker.env", "A=1\n")
        for name in ("shop-backend", "shop-worker", "other"):
            made.write(f"/etc/systemd/system/{name}.service", UNIT)
        made.run("systemctl", "daemon-reload")
        yield made


@pytest.fixture(scope="module")
def before(machine: SystemdMachine) -> set[str]:
    """What is on the machine before it is installed."""
    return files(machine)


@pytest.fixture(scope="module")
def installed(machine: SystemdMachine, before: set[str]) -> SystemdMachine:
    machine.run(DISINTO, "release", "install", "--yes")
    return machine


def files(machine: SystemdMachine) -> set[str]:
    return set(machine.run("sh", "-c", f"{OURS} 2>/dev/null; true").splitlines())


def runs(machine: SystemdMachine) -> str:
    """Changes with each run of the deploy."""
    return machine.property("shop-deploy.service", "InvocationID")


def push(machine: SystemdMachine, *, secret: str = SECRET, ref: str = "refs/heads/main") -> str:
    body = json.dumps({"ref": ref})
    signature = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
    command = ["curl", "--silent", "--show-error", "--data", body, "--header"]
    command += [f"X-Hub-Signature-256: sha256={signature}"]
    return machine.run(*command, "http://127.0.0.1:9009/webhook/github", check=False)


def test_installing_again_changes_nothing(installed: SystemdMachine) -> None:
    assert installed.succeeds(DISINTO, "release", "install", "--check")
    for unit in ("shop-deploy.timer", "shop-deploy.path", "shop-deployhook.service"):
        assert installed.property(unit, "ActiveState") == "active"


def test_systemd_accepts_the_units_and_finds_them_confined(installed: SystemdMachine) -> None:
    names = ("shop-deploy.service", "shop-deploy.timer", "shop-deploy.path")
    units = [f"/etc/systemd/system/{name}" for name in (*names, "shop-deployhook.service")]
    assert installed.run("systemd-analyze", "verify", *units) == ""
    exposure = {}
    for name in ("shop-deploy.service", "shop-deployhook.service"):
        output = installed.run("systemd-analyze", "security", "--no-pager", name)
        (level,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", output)
        exposure[name] = float(level)
    assert exposure["shop-deployhook.service"] <= 1.0
    assert exposure["shop-deploy.service"] <= 5.8


def test_doctor_names_what_is_wrong(installed: SystemdMachine) -> None:
    shown = json.loads(installed.run(DISINTO, "release", "doctor", "--json", check=False))
    wrong = {check["name"] for check in shown["checks"] if not check["ok"]}
    assert wrong == {"remote"}  # nothing serves it here
    installed.run("chmod", "o+w", "/etc/systemd/system/shop-worker.service")
    installed.run("sh", "-c", "echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/more")
    try:
        shown = json.loads(installed.run(DISINTO, "release", "doctor", "--json", check=False))
    finally:
        installed.run("rm", "/etc/sudoers.d/more")
        installed.run("chmod", "o-w", "/etc/systemd/system/shop-worker.service")
    wrong = {check["name"] for check in shown["checks"] if not check["ok"]}
    assert wrong == {"remote", "rights", "unit shop-worker.service"}


def test_a_signed_push_starts_a_deploy_and_nothing_else_does(installed: SystemdMachine) -> None:
    first = runs(installed)
    assert push(installed, secret="another secret of enough bytes").startswith("the signature")
    assert push(installed, ref="refs/heads/topic") == "another branch\n"
    assert runs(installed) == first
    assert push(installed) == "requested a deploy\n"
    installed.await_(lambda: runs(installed) != first, "the deploy")


def test_the_webhook_can_do_nothing_but_that(installed: SystemdMachine) -> None:
    pid = installed.property("shop-deployhook.service", "MainPID")
    status = dict(
        line.split(":\t", 1) for line in installed.read(f"/proc/{pid}/status").splitlines()
    )
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapBnd"], 16) == 0
    assert "0" not in status["Uid"].split()
    uid = status["Uid"].split()[0]
    inside = ("nsenter", f"--target={pid}", "--mount", f"--setuid={uid}", f"--setgid={uid}")
    assert installed.succeeds(*inside, "touch", "/run/shop-deployhook/other")
    for path in ("/opt/shop/env/backend.env", "/opt/shop/run", "/opt/shop/src", "/root"):
        assert not installed.succeeds(*inside, "ls", f"{path}/")
    assert not installed.succeeds(*inside, "touch", "/etc/x")
    assert not installed.succeeds(*inside, "touch", "/opt/shop/x")
    assert not installed.succeeds(*inside, "cat", "/etc/sudoers.d/disinto-shop")


REFUSED = [
    "sudo -n systemctl restart other.service",
    "sudo -n systemctl restart shop-backend.service other.service",
    "sudo -n systemctl restart 'shop-backend.service other.service'",
    "sudo -n systemctl restart 'shop-*.service'",
    "sudo -n systemctl restart '*'",
    "sudo -n systemctl restart shop-backend",
    "sudo -n systemctl restart",
    "sudo -n systemctl restart --job-mode=isolate shop-backend.service",
    "sudo -n systemctl --root=/tmp restart shop-backend.service",
    "sudo -n systemctl -H other restart shop-backend.service",
    "sudo -n systemctl restart shop-backend.service --now",
    "sudo -n systemctl 'restart shop-backend.service'",
    "sudo -n systemctl edit shop-backend.service",
    "sudo -n systemctl status shop-backend.service",
    "sudo -n systemctl kill shop-backend.service",
    "sudo -n systemctl mask shop-backend.service",
    "sudo -n systemctl set-property shop-backend.service User=root",
    "sudo -n systemctl link /tmp/x.service",
    "sudo -n systemctl daemon-reload",
    "sudo -n systemctl",
    "sudo -n /usr/bin/systemctl restart shop-deploy.service",
    "sudo -n -u nobody systemctl restart shop-backend.service",
    "sudo -n -g shadow systemctl restart shop-backend.service",
    "sudo -n SYSTEMD_LOG_LEVEL=debug systemctl restart shop-backend.service",
    "sudo -n -E systemctl restart shop-backend.service",
    "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/tmp/x "
    "sudo -n --preserve-env=DBUS_SYSTEM_BUS_ADDRESS systemctl restart shop-backend.service",
    "sudo -n -D / systemctl restart shop-backend.service",
    "sudo -n -R /tmp systemctl restart shop-backend.service",
    "ln -sf /usr/bin/systemctl /tmp/mine; sudo -n /tmp/mine restart shop-backend.service",
    "sudo -n -s",
    "sudo -n -i",
    "sudo -n -e /etc/passwd",
    "sudo -n visudo",
    "systemctl restart shop-backend.service",
    "systemctl restart other.service",
    "systemd-run --wait id",
    "echo >/etc/systemd/system/shop-backend.service",
    "echo >/opt/shop/release.toml",
    "mv /opt/shop/release.toml /opt/shop/other.toml",
    "mv /opt/shop/src /opt/shop/other",
    "cat /etc/sudoers.d/disinto-shop",
    "cat /var/lib/disinto-release/shop.json",
    "echo >/run/shop-deployhook/requested",
    "/opt/disinto/bin/disinto release install --yes",
    "/opt/disinto/bin/disinto release uninstall shop --yes",
]


def test_the_deploy_user_restarts_the_services_and_nothing_else(installed: SystemdMachine) -> None:
    def state() -> list[str]:
        return [installed.property(unit, "InvocationID") for unit in ("other", "shop-backend")]

    for verb in ("restart", "reset-failed", "stop", "restart"):
        command = f"sudo -n /usr/bin/systemctl {verb} shop-backend.service"
        assert installed.succeeds("sh", "-c", command, user="deploy"), command
    other, backend = state()
    script = "\n".join(
        f"( {command} ) >/dev/null 2>&1 </dev/null && echo {number}"
        for number, command in enumerate(REFUSED)
    )
    succeeded = installed.run("sh", "-c", f"cd /tmp\n{script}\ntrue", user="deploy").split()
    assert [REFUSED[int(number)] for number in succeeded] == []
    assert state() == [other, backend]


def test_no_program_or_library_of_the_user_runs_as_root(installed: SystemdMachine) -> None:
    planted = "mkdir -p /tmp/bin; printf '#!/bin/sh\\nid >/tmp/ran\\n' >/tmp/bin/systemctl; chmod +x /tmp/bin/*"
    call = "sudo -n systemctl restart shop-backend.service"
    variables = (
        "PATH=/tmp/bin:$PATH SYSTEMD_PAGER=/tmp/bin/systemctl SYSTEMD_EDITOR=/tmp/bin/systemctl"
    )
    assert installed.succeeds("sh", "-c", f"{planted}; {variables} {call}", user="deploy")
    assert not installed.succeeds("test", "-e", "/tmp/ran")


def test_a_release_file_that_others_may_write_is_not_read_by_root(
    installed: SystemdMachine,
) -> None:
    installed.run("chown", "deploy:", "/opt/shop/release.toml")
    try:
        refused = installed.run(DISINTO, "release", "install", "--yes", check=False)
    finally:
        installed.run("chown", "root:", "/opt/shop/release.toml")
    assert "/opt/shop/release.toml belongs to deploy" in refused


def test_uninstalling_removes_exactly_what_was_made(
    installed: SystemdMachine, before: set[str]
) -> None:
    """Last: it leaves nothing to test."""
    installed.run("systemctl", "stop", "shop-deploy.timer")  # it would write them again
    made = ("/opt/shop/logs", "/opt/shop/run", "/opt/shop/src")  # the checkout has .git as well
    installed.run("find", *made, "-mindepth", "1", "-delete")
    installed.run("rm", "-rf", "/tmp/mine")
    installed.run(DISINTO, "release", "uninstall", "shop", "--yes")
    assert files(installed) == before
    assert not installed.succeeds("id", "deploy")
    assert installed.property("shop-backend.service", "ActiveState") == "active"
