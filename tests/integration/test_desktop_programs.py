"""The programs behind the formulas, as processes: environment and files in, requests and files out."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dispatcher.desktop.params import SETTINGS_FILE
from dispatcher.errors import Exit
from dispatcher.model.times import rfc3339
from tests.servers.cloud import TOKEN, FakeCloud
from tests.servers.cloud_connection import serving
from tests.servers.cloud_objects import FakeDroplet
from tests.servers.desktop_machine import DesktopMachine

ROOT = Path(__file__).parents[2]
HMAC = "vault:v3:" + base64.b64encode(b"h" * 32).decode()
BLOB = "0" * 40
ORDER = {
    "name": "lost", "region": "sfo3", "size": "s-2vcpu-4gb", "image": "ubuntu-24-04-x64",
    "tags": ["disinto:desktops"],
}  # fmt: skip


class Account:
    """The fake account on a port, with one machine for all that is made, and a run's directory."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.cloud = FakeCloud(address=lambda _: "127.0.0.1")
        self.accepted = threading.Event()
        self.cloud.made = self._made
        self.machine = DesktopMachine(stack)
        self.directory = directory
        settings = {
            "DIGITALOCEAN_API_URL": stack.enter_context(serving(self.cloud)),
            "DIGITALOCEAN_SSH_KEYS": ["289794"],
            "gateway_host": "desktops.example",
            "http_port": self.machine.http_port,
            "https_port": self.machine.https_port,
        }
        (directory / SETTINGS_FILE).write_text(json.dumps(settings))

    def _made(self, droplet: FakeDroplet) -> None:
        if droplet.user_data:
            self.machine.boot(droplet.user_data)
        self.accepted.set()

    def start(self, program: str, params: dict[str, Any], **environ: str) -> subprocess.Popen[str]:
        for name in ("outputs", "progress"):
            (self.directory / name).unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "dispatcher.desktop", program],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DISINTO_ACTION_ID": "desk-1",
                "DISINTO_RUN_KEY": f"desk-1.{BLOB}",
                "DISINTO_PARAMS": json.dumps(params),
                "DISINTO_FILES": str(self.directory),
                "DISINTO_OUTPUTS": str(self.directory / "outputs"),
                "DISINTO_PROGRESS": str(self.directory / "progress"),
                "DIGITALOCEAN_API_TOKEN": TOKEN,
                "DESKTOP_HMAC": HMAC,
                **environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, params: dict[str, Any], **environ: str) -> tuple[int, str, str]:
        process = self.start(program, params, **environ)
        out, err = process.communicate(timeout=60)
        for secret in (TOKEN, HMAC, "PRIVATE KEY"):
            assert secret not in out + err
        return process.returncode, out, err

    @property
    def outputs(self) -> Any:
        file = self.directory / "outputs"
        return json.loads(file.read_text()) if file.exists() else None

    @property
    def progress(self) -> list[tuple[str, int]]:
        lines = (self.directory / "progress").read_text().splitlines()
        return [(line["stage"], line["percent"]) for line in map(json.loads, lines)]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with ExitStack() as stack:
        yield Account(stack, tmp_path)


def test_a_desktop_is_made_and_destroyed(account: Account) -> None:
    code, out, err = account.run("create", {"name": "alice-1", "lifetime": "8h"})
    assert (code, err) == (Exit.OK, "")
    (droplet,) = account.cloud.running()
    assert (droplet.name, droplet.image, droplet.size) == (
        "alice-1",
        "ubuntu-24-04-x64",
        "s-2vcpu-4gb",
    )
    assert droplet.tags == [
        "disinto:desktops", "disinto:desktop:desk-1", f"disinto:run:desk-1:{BLOB}",
    ]  # fmt: skip
    entry = account.outputs["inventory"]
    address = f"127.0.0.1:{account.machine.https_port}"
    assert len(entry.pop("fingerprint")) == 64
    assert entry.pop("expires_at").endswith("Z")
    assert entry == {
        "id": "desk-1", "name": "alice-1", "region": "sfo3", "size": "s-2vcpu-4gb",
        "image": "ubuntu-24-04-x64", "key_version": 3, "run_key": f"desk-1.{BLOB}",
        "project": "disinto", "apps": [], "vigilance": False, "gateway_host": "desktops.example",
        "droplet_id": droplet.id, "ip": "127.0.0.1", "address": address,
        "probe": [f"https://{address}/"], "state": "ACTIVE",
    }  # fmt: skip
    assert account.progress[0] == ("provisioning-droplet", 22)
    assert account.progress[-1] == ("active", 100)
    assert out.endswith("the desktop is active: https://127.0.0.1/guacamole/\n")
    assert account.run("destroy", {"id": "desk-1"})[0] == Exit.OK
    assert account.cloud.running() == []
    assert account.outputs == {"inventory": {"id": "desk-1"}}
    assert account.progress[-1] == ("destroyed", 100)


def test_a_run_that_is_stopped_before_there_is_an_address_leaves_nothing(account: Account) -> None:
    account.cloud.ip_after_s = 3600
    process = account.start("create", {"name": "alice-1"})
    assert account.accepted.wait(30)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "cancelled: nothing is left\n")
    assert account.cloud.created == 1
    assert account.cloud.running() == []
    assert account.outputs is None


def test_what_a_killed_run_may_have_made_is_named(account: Account) -> None:
    account.cloud.ip_after_s = 3600
    process = account.start("create", {"name": "alice-1"})
    assert account.accepted.wait(30)
    process.kill()
    process.communicate(timeout=30)
    assert account.outputs["inventory"]["id"] == "desk-1"
    assert account.run("destroy", {"id": "desk-1"})[0] == Exit.OK
    assert account.cloud.running() == []


def test_what_is_left_over_is_listed_and_removed(account: Account) -> None:
    account.cloud.answer("POST", "/v2/droplets", ORDER, token=TOKEN)
    (droplet,) = account.cloud.running()
    droplet.created_at -= 3600
    at = {"listed_at": rfc3339(time.time())}
    _, out, _ = account.run("reap", at)
    assert "1 machines with the tag disinto:desktops, 1 left over" in out
    assert "nothing was removed" in out
    assert len(account.cloud.running()) == 1
    account.run("reap", {**at, "remove": True})
    assert account.outputs["removed"] == [droplet.id]
    assert account.cloud.running() == []


def test_what_cannot_work_sends_nothing_that_costs(account: Account) -> None:
    code, _, err = account.run("create", {"name": "a", "lifetime": "1m"})
    assert (code, account.outputs) == (Exit.DATAERR, None)
    assert "[params]: lifetime is not between 10m and 366d" in err
    code, _, err = account.run("create", {"name": "a"}, DIGITALOCEAN_API_TOKEN="x")
    assert (code, account.outputs) == (Exit.NOPERM, None)
    assert "rejected the API token" in err
    assert account.cloud.created == 0
