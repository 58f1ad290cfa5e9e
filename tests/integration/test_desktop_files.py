"""What a desktop's user data brings, judged by the programs that read it on the machine."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dispatcher.desktop.machine import LIB, user_data
from dispatcher.devservers.ports import free_port, free_ports
from tests.support import machines
from tests.support.stage import eventually

FOREIGN = (
    "/usr/bin/docker",
    "/usr/bin/dbus-run-session",
    "/usr/sbin/nft",
)
"""Programs of packages, which units start."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("machine")
    machines.lay_down(user_data(machines.full_machine()), directory)
    for program in FOREIGN:
        place = directory / program.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"#!/bin/sh\n")
        place.chmod(0o755)
    return directory


def _run(*command: str | Path) -> str:
    """What it prints; it has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.needs("cloud-init")
def test_cloud_init_accepts_the_user_data(tmp_path: Path) -> None:
    file = tmp_path / "user-data"
    file.write_text(user_data(machines.full_machine()))
    assert "Valid" in _run("cloud-init", "schema", "--config-file", file)


@pytest.mark.needs("shellcheck")
def test_shellcheck_accepts_the_scripts(root: Path) -> None:
    programs = (root / LIB.lstrip("/")).iterdir()
    scripts = [file for file in programs if file.read_bytes().startswith(b"#!/bin/bash\n")]
    assert len(scripts) == 5
    _run("shellcheck", *scripts)


@pytest.mark.needs("systemd-analyze")
def test_systemd_accepts_the_units(root: Path) -> None:
    units = sorted((root / "etc/systemd/system").iterdir())
    assert len(units) == 8
    said = _run(
        "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}", *units
    )
    assert said == ""


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("desktop", [False, True], ids=["report only", "with the desktop"])
def test_nginx_accepts_its_configuration(root: Path, tmp_path: Path, desktop: bool) -> None:
    here = root / "etc/disinto-desktop"
    text = (here / "nginx/site.conf").read_text().replace("/etc/disinto-desktop", str(here))
    enabled = here / "nginx/enabled"
    enabled.mkdir(exist_ok=True)
    if desktop:
        (enabled / "guacamole.conf").write_bytes((here / "nginx/guacamole.conf").read_bytes())
    site = tmp_path / "site.conf"
    site.write_text(text.replace("/var/log/nginx", str(tmp_path)))
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ include {site}; }}"
    )
    assert "warn" not in _run("nginx", "-t", "-c", whole)


@pytest.mark.needs("nginx")
def test_people_read_that_guacamole_is_not_there_and_no_log_has_their_token(
    root: Path, tmp_path: Path
) -> None:
    here = root / "etc/disinto-desktop"
    http_port, https_port = free_ports(2)
    text = (here / "nginx/site.conf").read_text()
    enabled = (here / "nginx/guacamole.conf").read_text()
    text = text.replace("include /etc/disinto-desktop/nginx/enabled/*.conf;", enabled)
    for there, value in {
        "listen 80 ": f"listen 127.0.0.1:{http_port} ",
        "listen 443 ": f"listen 127.0.0.1:{https_port} ",
        "127.0.0.1:8080": f"127.0.0.1:{free_port()}",
        "/etc/disinto-desktop": str(here),
        "/var/log/nginx": str(tmp_path),
    }.items():
        assert there in text
        text = text.replace(there, value)
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/error.log info; events {{}} http {{ {text} }}"
    )
    process = subprocess.Popen(["nginx", "-c", whole, "-g", "daemon off;"])
    try:
        base = f"https://127.0.0.1:{https_port}/guacamole"
        with httpx.Client(verify=False, trust_env=False) as client:
            page = eventually(lambda: client.get(f"{base}/"))()
            tunnel = client.get(f"{base}/websocket-tunnel?token=CANARY")
    finally:
        process.terminate()
        process.wait(20)
    assert (page.status_code, tunnel.status_code) == (502, 502)
    assert "Guacamole does not answer: it may be starting" in page.text
    logs = "".join(file.read_text() for file in tmp_path.glob("*.log"))
    assert "/guacamole/websocket-tunnel" in logs
    assert "CANARY" not in logs


def test_a_stream_may_be_idle_for_more_than_fifteen_minutes(root: Path) -> None:
    text = (root / "etc/disinto-desktop/nginx/guacamole.conf").read_text()
    hours = dict(re.findall(r"^ *(proxy_(?:read|send)_timeout) (\d+)h;$", text, re.MULTILINE))
    assert set(hours) == {"proxy_read_timeout", "proxy_send_timeout"}
    assert all(int(value) >= 1 for value in hours.values())


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _apt_of_its_own(directory: Path) -> dict[str, str]:
    """The environment of an apt with directories of its own, and without packages."""
    for name in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d",
                 "etc/sources.list.d", "etc/preferences.d", "dpkg", "log"):  # fmt: skip
        (directory / name).mkdir(parents=True)
    (directory / "dpkg/status").touch()
    (directory / "etc/sources.list").touch()
    configuration = directory / "apt.conf"
    configuration.write_text(
        f'Dir "{directory}/"; Dir::State "state/"; Dir::State::status "{directory}/dpkg/status";'
        f' Dir::Cache "cache/"; Dir::Etc "etc/"; Dir::Log "{directory}/log/";'
    )
    return {**os.environ, "APT_CONFIG": str(configuration), "PAUSE": "0.2"}


@pytest.mark.needs("apt-get")
@pytest.mark.parametrize(
    ("lock", "arguments"),
    [("state/lists/lock", ["update"]), ("dpkg/lock-frontend", ["install", "--yes"])],
    ids=["lists", "dpkg"],
)
def test_a_held_apt_lock_is_waited_for(
    root: Path, tmp_path: Path, lock: str, arguments: list[str]
) -> None:
    environment = _apt_of_its_own(tmp_path)
    command = [str(root / LIB.lstrip("/") / "apt-get"), *arguments]
    with _held(tmp_path / lock):
        given_up = subprocess.run(
            command, env={**environment, "WAIT": "0"}, capture_output=True, check=False, timeout=60
        )
        assert given_up.returncode == 1
        waiting = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert waiting.stdout is not None
        seen = ""
        while "Could not get lock" not in seen:  # ends with the program, if it does not wait
            line = waiting.stdout.readline()
            assert line, seen
            seen += line
        assert waiting.poll() is None
    rest, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, seen + rest
