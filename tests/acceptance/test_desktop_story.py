"""A merged action becomes a desktop and an entry of the inventory; another one removes both.

The formulas are those in ``actions/desktop``; only the provider and the machine are fakes.
"""

from __future__ import annotations

import json
import secrets
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dispatcher.desktop.credentials import VARIABLE
from dispatcher.desktop.params import SETTINGS_FILE
from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.servers.cloud import TOKEN, FakeCloud
from tests.servers.cloud_connection import serving as account
from tests.servers.cloud_objects import FakeDroplet
from tests.servers.desktop_machine import DesktopMachine
from tests.servers.nomad import Nomad
from tests.support.cli_process import disinto
from tests.support.machines import written
from tests.support.serving import ROOT, all_results, serving

FORMULAS = ROOT / "actions" / "desktop" / "formulas"
CREATE = f"""
id = "desk-1"
formula = "desktop"
context = ""
secrets = ["DIGITALOCEAN_API_TOKEN", "{VARIABLE}"]
[params]
name = "alice-1"
lifetime = "8h"
"""
DESTROY = """
id = "desk-1-destroy"
formula = "desktop-destroy"
context = ""
secrets = ["DIGITALOCEAN_API_TOKEN"]
[params]
id = "desk-1"
"""


def scene_with(
    stack: ExitStack, root: Path, bao: Bao, cloud: FakeCloud, nomad: Nomad | None
) -> tuple[Scene, DesktopMachine]:
    machine = DesktopMachine(stack)
    cloud.made = lambda droplet: machine.boot(droplet.user_data)
    settings = {
        "DIGITALOCEAN_API_URL": stack.enter_context(account(cloud)),
        "http_port": machine.http_port,
        "https_port": machine.https_port,
    }
    texts = {file.name: file.read_text() for file in FORMULAS.iterdir()}
    server = bao.with_own_mount()
    transit = f"transit-{secrets.token_hex(4)}"
    scene = Scene.set(
        root,
        server,
        values={"DIGITALOCEAN_API_TOKEN": TOKEN},
        settings={
            "vault": {
                "kv_mount": server.kv_mount,
                "transit_mount": transit,
                "derived": {VARIABLE: "disinto-desktops"},
            },
            "ops_repo": {"poll_interval_s": 0.2},
            "local": {"hide_home": False},  # this Python may be in there
            "formulas": {"classes": {"desktop": "provision", "desktop-destroy": "provision"}},
        },
        tiers={"desktop": "low", "desktop-destroy": "low"},
        formulas={**texts, SETTINGS_FILE: json.dumps(settings)},
        nomad=nomad,
    )
    stack.callback(bao.client().sys.disable_secrets_engine, transit)
    stack.callback(scene.clear)
    return scene, machine


@pytest.mark.needs("bao", "bwrap")
@pytest.mark.skipif(
    Path(sys.prefix).is_relative_to("/tmp"),
    reason="NOT RUN: this Python is below /tmp, and a formula sees a /tmp of its own",
)
def test_on_the_local_engine(bao_server: Bao, tmp_path: Path) -> None:
    play(tmp_path, bao_server, nomad=None)


@pytest.mark.needs("bao", "nomad")
@pytest.mark.slow
def test_on_nomad(bao_server: Bao, nomad: Nomad, tmp_path: Path) -> None:
    play(tmp_path, bao_server, nomad=nomad)


def play(root: Path, bao: Bao, *, nomad: Nomad | None) -> None:
    cloud = FakeCloud(address=lambda _: "127.0.0.1")
    with ExitStack() as stack:
        scene, _ = scene_with(stack, root, bao, cloud, nomad)
        scene.merge({"vault/actions/desk-1.toml": CREATE}, "A desktop for Alice")
        with serving(scene):
            result = all_results(scene, ["desk-1"])["desk-1"]
            assert result["verdict"] == "succeeded", result
            (droplet,) = cloud.running()
            (entry,) = entries(scene)
            assert entry["believed"]
            assert entry["entry"]["droplet_id"] == droplet.id
            assert entry["entry"]["state"] == "ACTIVE"
            assert entry["expires_at"]
            scene.merge({"vault/actions/desk-1-destroy.toml": DESTROY}, "Alice is done")
            result = all_results(scene, ["desk-1-destroy"])["desk-1-destroy"]
            assert result["verdict"] == "succeeded", result
        assert cloud.running() == []
        assert entries(scene) == []
        no_secret_is_left(scene, droplet)


def entries(scene: Scene) -> list[dict[str, Any]]:
    done = disinto(
        "--config", str(scene.config), "inventory", "--json", env=scene.environ, cwd=ROOT
    )
    found: list[dict[str, Any]] = done.json["entries"]
    return found


def no_secret_is_left(scene: Scene, droplet: FakeDroplet) -> None:
    """Neither the token nor what was derived is in a file: results, logs, ledger, clone."""
    files = written(droplet.user_data)
    password = files["/etc/disinto-desktop/vnc-password"].content.strip()
    environment = files["/etc/disinto-desktop/guacamole/environment"].content
    key = environment.split(b"JSON_SECRET_KEY=")[1].split()[0]
    private = files["/etc/disinto-desktop/tls/key.pem"].content.splitlines()[1]
    history = scene.git("log", "--all", "--patch", cwd=scene.remote).encode()
    for secret in (TOKEN.encode(), password, key, private):
        assert len(secret) >= 8
        assert secret not in history
        for file in scene.root.rglob("*"):
            if file.is_file():
                assert secret not in file.read_bytes(), file
