"""An approved action releases an application on a real machine, over SSH."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.servers.shop_machine import ShopMachine
from tests.servers.systemd_machine import boot
from tests.support.serving import ROOT, all_results, serving

FORMULAS = ROOT / "actions" / "release" / "formulas"
ACTION = """
id = "{id}"
formula = "release"
context = "A new shop"
secrets = []
mounts = ["ssh"]
[params]
app = "shop"
machines = ["deploy@{ip}"]
"""


def trusted(shop: ShopMachine, directory: Path) -> None:
    """A directory for the mount ssh, whose key the deploy user's account accepts."""
    directory.mkdir(mode=0o700)
    key = directory / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text()
    home = "/var/lib/deploy/.ssh"
    shop.machine.run("install", "-d", "-o", "deploy", "-g", "deploy", "-m", "700", home)
    shop.machine.write(f"{home}/authorized_keys", public, mode=0o600, owner="deploy:deploy")
    shop.machine.run(
        "sh", "-c", "ln -s /opt/disinto/bin/disinto /opt/disinto/bin/uv /usr/local/bin/"
    )
    shop.machine.run("systemctl", "start", "ssh")
    host = shop.machine.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
    known = directory / "known_hosts"
    known.write_text(f"{shop.machine.ip} {' '.join(host)}\n")
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}"]
    words = [word for each in (*options, f"IdentityFile={key}") for word in ("-o", each)]
    command = ["ssh", "-T", *words, f"deploy@{shop.machine.ip}", "true"]

    def accepted() -> bool:
        """More than an open port: sshd, PAM and the account's shell."""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    shop.machine.await_(accepted, "a login by SSH")


@pytest.mark.needs("bao", "bwrap", "docker", "machine")
@pytest.mark.thorough
@pytest.mark.skipif(
    Path(sys.prefix).is_relative_to("/tmp"),
    reason="NOT RUN: this Python is below /tmp, and a formula sees a /tmp of its own",
)
def test_an_action_deploys_and_reports_the_way_back(bao_server: Bao, tmp_path: Path) -> None:
    with ExitStack() as stack:
        shop = ShopMachine(stack.enter_context(boot()))
        shop.disinto("install", "--yes")
        shop.machine.run("systemctl", "stop", "shop-deploy.timer")
        shop.machine.await_(shop.idle, "the timer's deploy")
        trusted(shop, tmp_path / "ssh")
        scene = Scene.set(
            tmp_path / "scene",
            bao_server.with_own_mount(),
            values={},
            settings={
                "ops_repo": {"poll_interval_s": 0.2},
                "local": {"hide_home": False, "mounts": {"ssh": str(tmp_path / "ssh")}},
            },
            tiers={"release": "low"},
            formulas={file.name: file.read_text() for file in FORMULAS.iterdir()},
        )
        stack.callback(scene.clear)
        good = shop.change(2)
        with serving(scene):
            text = ACTION.format(id="shop-2", ip=shop.machine.ip)
            scene.merge({"vault/actions/shop-2.toml": text}, "Release the shop")
            result = all_results(scene, ["shop-2"])["shop-2"]
            assert result["verdict"] == "succeeded", result
            (machine,) = result["outputs"]["machines"].values()
            assert (machine["outcome"], machine["commit"]) == ("deployed", good)
            assert shop.serves(2, good)
            bad = shop.change(3, starts=False)
            text = ACTION.format(id="shop-3", ip=shop.machine.ip)
            scene.merge({"vault/actions/shop-3.toml": text}, "Release it again")
            result = all_results(scene, ["shop-3"])["shop-3"]
            assert result["verdict"] == "failed", result
            (machine,) = result["outputs"]["machines"].values()
            assert (machine["outcome"], machine["commit"]) == ("rolled-back", bad)
        assert shop.serves(2, good)
