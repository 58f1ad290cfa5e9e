"""A desktop from the power button on: its user data boots a machine, which becomes a desktop and stays one.

One machine for the whole story. Guacamole is a stand-in; everything else is what a droplet would run,
from the files of the user data.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.desktop.machine import Vigilance, user_data
from dispatcher.desktop.probes import NetworkProber, Probed
from dispatcher.desktop.report import FAILED
from tests.servers import desktop_container
from tests.servers.desktop_container import DesktopContainer
from tests.support import machines, rfb

pytestmark = [pytest.mark.needs("docker", "desktop"), pytest.mark.slow]

LOG = "/var/log/disinto-desktop.log"
METADATA = "169.254.169.254"
STAGES = [
    "installing-packages",
    "starting-guacamole",
    "configuring-https",
    "final-health-check",
    "active",
]


def _await(condition: Callable[[], bool], machine: DesktopContainer, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, machine.run("tail", "-40", LOG, check=False)
        time.sleep(0.5)


def _look(machine: DesktopContainer) -> Probed:
    return NetworkProber().look(machine.ip, machines.certificate().fingerprint)


def _is_desktop(probed: Probed) -> bool:
    """Whether it answers; that its setup is done, no machine may report."""
    report = probed.report
    return bool(probed.https and report and report.vnc and report.guacamole)


@pytest.fixture(scope="module")
def boots() -> Iterator[tuple[DesktopContainer, list[Probed]]]:
    """A machine that has become a desktop, and what probes saw before."""
    wanted = machines.machine(
        apps=("git", "gimp"), vigilance=Vigilance()
    )  # gimp is nowhere to be had
    with desktop_container.boot(user_data(wanted)) as machine:
        before: list[Probed] = []

        def looked() -> Probed:
            before.append(_look(machine))
            return before[-1]

        machine.await_ready(lambda: looked().report is not None)
        machine.await_ready(lambda: _is_desktop(looked()))
        machine.await_ready()
        yield machine, before


@pytest.fixture
def machine(boots: tuple[DesktopContainer, list[Probed]]) -> DesktopContainer:
    return boots[0]


def test_it_reports_early_and_step_by_step(boots: tuple[DesktopContainer, list[Probed]]) -> None:
    machine, before = boots
    early = next(probed for probed in before if probed.report is not None)
    assert early.report is not None
    assert early.report.stage == "installing-packages"
    assert not early.https
    assert early.report.log_tail
    done = _look(machine).report
    assert done is not None
    assert done.apps_failed == ("gimp",)
    assert done.log_tail == ()  # anybody may read it, and by now somebody works there
    stages = re.findall(r"^== \S+ (\S+)$", machine.read(LOG), re.MULTILINE)
    assert list(dict.fromkeys(stages)) == STAGES


def test_another_certificate_is_a_stranger(machine: DesktopContainer) -> None:
    assert NetworkProber().look(machine.ip, "00" * 32).stranger


def test_the_derived_password_opens_the_desktop_and_another_does_not(
    machine: DesktopContainer,
) -> None:
    password = machines.CREDENTIALS.vnc_password
    with machine.dial(5901) as connection:
        assert rfb.log_in(connection, password) is None
    with machine.dial(5901) as connection:
        assert rfb.log_in(connection, password[::-1]) is not None
    for _ in range(8):  # probes, which do not log in
        with machine.dial(5901) as connection:
            assert connection.stdout is not None
            assert connection.stdout.read(12) == rfb.VERSION
    with machine.dial(5901) as connection:
        assert rfb.log_in(connection, password) is None


def test_only_ssh_and_the_page_can_be_reached(machine: DesktopContainer) -> None:
    listening = machine.run("ss", "-Hltn")
    everywhere = set(re.findall(r"(?:0\.0\.0\.0|\*|\[::\]):(\d+)", listening))
    assert everywhere == {"22", "80", "443"}
    firewall = machine.run("ufw", "status", "verbose")
    assert "Default: deny (incoming)" in firewall
    assert set(re.findall(r"^(\S+) +ALLOW IN", firewall, re.MULTILINE)) == {
        "22/tcp",
        "80/tcp",
        "443/tcp",
    }


def test_the_metadata_service_is_for_root_alone(machine: DesktopContainer) -> None:
    machine.run(
        "ip", "address", "replace", f"{METADATA}/32", "dev", "lo"
    )  # nginx answers there now
    ask = (
        "curl",
        "--interface",
        "127.0.0.1",
        "--silent",
        "--max-time",
        "5",
        "--output",
        "/dev/null",
        f"http://{METADATA}/",
    )
    assert machine.succeeds(*ask)
    assert not machine.succeeds(*ask, user="desktop")
    assert not machine.succeeds(*ask, user="www-data")


def test_a_websocket_passes_and_its_token_is_in_no_log(machine: DesktopContainer) -> None:
    context = ssl.create_default_context(cadata=machines.certificate().pem)
    with (
        socket.create_connection((machine.ip, 443), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(
            b"GET /guacamole/websocket-tunnel?token=CANARY-TOKEN HTTP/1.1\r\nHost: desk\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nReferer: https://desk/?token=CANARY-TOKEN\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 ")
        connection.sendall(b"4.sync,1.0;")
        assert connection.recv(4096) == b"4.sync,1.0;"
    log = "/var/log/nginx/disinto-desktop.log"
    _await(lambda: "/guacamole/websocket-tunnel" in machine.read(log), machine, 20)
    assert "CANARY-TOKEN" not in machine.run("grep", "-r", "CANARY", "/var/log/nginx", check=False)


def test_http_leads_to_https(machine: DesktopContainer) -> None:
    head = machine.run("curl", "--silent", "--head", f"http://{machine.ip}/guacamole/?token=x")
    assert "HTTP/1.1 301" in head
    assert f"Location: https://{machine.ip}/guacamole/\r\n" in head


def test_upgrades_wait_until_the_desktop_is_active(machine: DesktopContainer) -> None:
    ran = machine.run(
        "journalctl",
        "--no-pager",
        "--unit",
        "apt-daily.service",
        "--unit",
        "apt-daily-upgrade.service",
    )
    assert "Starting" not in ran.split("Finished disinto-desktop-setup")[0]
    masked = machine.read("/var/log/cloud-init-output.log")
    assert "Created symlink /etc/systemd/system/apt-daily.timer → /dev/null" in masked
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"):
        assert machine.run("systemctl", "is-enabled", unit).strip() == "enabled"
    assert 'Unattended-Upgrade "1"' in machine.read("/etc/apt/apt.conf.d/20auto-upgrades")


def test_vigilance_is_prepared_and_said_to_be_absent(machine: DesktopContainer) -> None:
    assert "the agent itself is not installed" in machine.read(LOG)
    settings = json.loads(machine.read("/etc/vigilance/config.json"))
    assert machine.succeeds("test", "-w", settings["screenshots_directory"], user="desktop")
    assert machine.run("ls", "-A", "/opt/vigilance") == ""


def test_no_secret_is_in_logs_or_in_arguments(machine: DesktopContainer) -> None:
    credentials = machines.CREDENTIALS
    secrets = [credentials.vnc_password, credentials.guacamole_key.hex()]
    secrets += [base64.b64encode(credentials.guacamole_key).decode()]
    secrets += [machines.certificate().key_pem.splitlines()[1]]
    patterns = [word for secret in secrets for word in ("-e", secret)]
    assert not machine.succeeds(
        "grep", "--recursive", "--fixed-strings", *patterns, "/var/log", "/run/log"
    )
    seen = machine.run("journalctl", "--no-pager", "--output", "cat")
    seen += machine.run("ps", "-eo", "args") + machine.run("sh", "-c", "env")
    assert not [secret for secret in secrets if secret in seen]
    assert not machine.succeeds("test", "-e", "/etc/disinto-desktop/vnc-password")
    root_only = machine.run("find", "/etc/disinto-desktop", "-type", "f", "!", "-perm", "/077")
    assert {"environment", "key.pem", "vnc.passwd"} == {
        Path(path).name for path in root_only.split()
    }


def test_the_desktop_shows_something(machine: DesktopContainer) -> None:
    def drawn() -> bool:
        return len(machine.screenshot()) > 10_000  # an empty X screen takes a tenth

    _await(drawn, machine, 60)
    assert machine.succeeds("pgrep", "--uid", "desktop", "xfce4-panel")
    assert not machine.succeeds("sh", "-c", "DISPLAY=:1 xset q", user="nobody")


def test_a_session_comes_back_when_the_x_server_dies(machine: DesktopContainer) -> None:
    def panel() -> str:
        return machine.run("pgrep", "--uid", "desktop", "xfce4-panel", check=False)

    before = panel()
    machine.run("pkill", "--signal", "KILL", "Xtigervnc")
    _await(lambda: panel() not in ("", before), machine, 60)


def test_it_is_a_desktop_again_after_a_reboot(machine: DesktopContainer) -> None:
    machine.reboot()
    machine.await_ready(lambda: _is_desktop(_look(machine)))
    with machine.dial(5901) as connection:
        assert rfb.log_in(connection, machines.CREDENTIALS.vnc_password) is None
    assert "disinto_desktop" in machine.run("nft", "list", "tables")
    assert "Status: active" in machine.run("ufw", "status")
    failed = machine.run("systemctl", "--failed", "--no-legend", "--plain")
    assert "disinto" not in failed


def test_a_setup_that_fails_reports_it_with_the_end_of_the_log(machine: DesktopContainer) -> None:
    machine.run("rm", "/var/lib/disinto-desktop/ready")
    machine.run("sh", "-c", "echo 'no directive;' > /etc/disinto-desktop/nginx/site.conf")
    assert not machine.succeeds("systemctl", "restart", "disinto-desktop-setup.service")
    report = _look(machine).report
    assert report is not None
    assert report.stage == FAILED
    assert any('unknown directive "no"' in line for line in report.log_tail)
    assert any(line.startswith("setup.sh failed at line") for line in report.log_tail)
